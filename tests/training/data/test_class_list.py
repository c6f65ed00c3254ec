"""Class lists: which ids and colours a person's masks may hold."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.metrics import VOID
from training.data.class_list import ClassList, read_class_list
from training.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def listed(path: Path, text: str) -> ClassList:
    return read_class_list(write(path / "classes.txt", text))


def test_classes_take_ids_in_the_order_of_the_lines(tmp_path: Path) -> None:
    given = listed(tmp_path, "\ufeff# garden\r\n\r\nbackground\r\n  oak tree   #AABBCC \r\nvoid #ffffff\r\nroof\r\n")
    assert [(entry.id, entry.name) for entry in given.classes] == [(0, "background"), (1, "oak tree"), (2, "roof")]
    assert given.classes[1].color == "#aabbcc"
    assert given.painted == {(0xAA, 0xBB, 0xCC): 1, (255, 255, 255): VOID}


def test_a_class_without_a_colour_gets_a_free_one(tmp_path: Path) -> None:
    given = listed(tmp_path, "background\na\nb #e69f00\nc\n")
    assert [entry.color for entry in given.classes] == ["#000000", "#56b4e9", "#e69f00", "#009e73"]
    many = listed(tmp_path, "\n".join(f"class {number}" for number in range(255)))
    assert len({entry.color for entry in many.classes} - {"#000000", "#ffffff"}) == 255


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists 0 classes"),
        ("# only a comment\n", "lists 0 classes"),
        ("void #ffffff\n", "lists 0 classes"),
        ("\n".join(map(str, range(256))), "lists 256 classes; there can be 1 to 255"),
        ("a\nb\na\n", "the class a appears twice"),
        ("a #112233\nb #112233\n", "the colour #112233 appears twice"),
        ("a\nvoid\n", "void needs a colour"),
        ("a\n#112233 b\n", "line 2: the colour comes after"),
        ("a\nb #12345\n", "line 2: '#12345' is no colour"),
        ("a\nb #red\n", "line 2: '#red' is no colour"),
        ("a\nnucleus #e69f00 # the thing\n", "line 2: #e69f00: #rrggbb must be the last word of the line, after a space"),
        ("a\nnucleus,#e69f00\n", "line 2: nucleus,#e69f00: #rrggbb must be the last word"),
        ("a\nb #e69f00 #d55e00\n", "line 2: #e69f00: #rrggbb must be the last word"),
    ],
)
def test_what_is_no_class_list_is_an_error_that_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        listed(tmp_path, text)
    assert "classes.txt" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    Image.new("L", (2, 2), 200).save(tmp_path / "classes.png")
    with pytest.raises(InputError, match=r"classes\.png is no text"):
        read_class_list(tmp_path / "classes.png")
    with pytest.raises(InputError, match="is no text"):
        read_class_list(tmp_path)


def test_grey_and_indexed_masks_hold_ids_and_colour_masks_the_listed_colours(tmp_path: Path) -> None:
    given = listed(tmp_path, "background #000000\ncat #ff0000\nvoid #ffffff\n")
    grey = Image.fromarray(np.array([[0, 1, 255]], np.uint8))
    painted = Image.fromarray(np.array([[[0, 0, 0], [255, 0, 0], [255, 255, 255]]], np.uint8))
    for mask in (grey, painted):
        assert given.decode(mask, "a.png").tolist() == [[0, 1, VOID]]
    with pytest.raises(InputError, match=r"a\.png .*: 2 \(1 pixel\); classes are 0\.\.1, 255"):
        given.decode(Image.fromarray(np.array([[2]], np.uint8)), "a.png")
    with pytest.raises(InputError, match=r"a\.png .*: #00ff00 \(1 pixel\)"):
        given.decode(Image.new("RGB", (1, 1), "#00ff00"), "a.png")


def test_black_is_the_background_of_colour_masks_unless_it_is_listed_as_another(tmp_path: Path) -> None:
    painted = Image.fromarray(np.array([[[0, 0, 0], [0, 0x9E, 0x73]]], np.uint8))
    assert listed(tmp_path, "background\noak tree #009e73\nroof #d55e00\n").decode(painted, "a.png").tolist() == [[0, 1]]
    assert listed(tmp_path, "background\noak #009e73\nvoid #000000\n").decode(painted, "a.png").tolist() == [[VOID, 1]]
    with pytest.raises(InputError, match="#000000"):
        listed(tmp_path, "ground\noak #009e73\n").decode(painted, "a.png")
    with pytest.raises(InputError, match=r"gives no colours for the mask a\.png"):
        listed(tmp_path, "background\noak\n").decode(painted, "a.png")


def test_black_that_nobody_listed_says_nothing_in_a_palette(tmp_path: Path) -> None:
    given = listed(tmp_path, "background\ncat #ff0000\ndog\n")
    mask = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    mask.putpalette([9, 9, 9, 255, 0, 0])  # the third is black for want of an entry
    assert given.decode(mask, "a.png").tolist() == [[0, 1, 2]]


def test_a_renumbered_palette_is_an_error_and_no_wrong_label(tmp_path: Path) -> None:
    given = listed(tmp_path, "background #000000\ncat #ff0000\ndog\n")
    mask = Image.fromarray(np.array([[0, 1, 1, 2]], np.uint8)).convert("P")
    mask.putpalette([0, 0, 0, 255, 0, 0, 9, 9, 9])
    assert given.decode(mask, "a.png").tolist() == [[0, 1, 1, 2]]
    mask.putpalette([255, 0, 0, 0, 0, 0, 9, 9, 9])  # an editor put the cat first
    with pytest.raises(InputError, match=r"a\.png contradicts the class list: its value 0 is shown in #ff0000"):
        given.decode(mask, "a.png")
    mask.putpalette([8, 8, 8, 7, 7, 7, 9, 9, 9])  # a palette of other colours says nothing
    assert given.decode(mask, "a.png").tolist() == [[0, 1, 1, 2]]
