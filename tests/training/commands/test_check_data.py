"""check-data as a person runs it."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.commands import check_data
from training.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve photos, each with a cat in its own place, and a class list beside them."""
    (tmp_path / "classes.txt").write_text("background\ncat #e69f00\n")
    for kind in ("images", "masks"):
        (tmp_path / "own" / kind).mkdir(parents=True)
    for number in range(12):
        labels = np.zeros((60, 80), np.uint8)
        labels[number : number + 30, 20:50] = 1
        Image.fromarray(labels * 200).save(tmp_path / f"own/images/{number}.jpg")
        Image.fromarray(labels).save(tmp_path / f"own/masks/{number}.png")
    return tmp_path / "own"


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    check_data.add_arguments(parser)
    return check_data.run(parser.parse_args([str(argument) for argument in arguments]))


def test_good_data_ends_with_0_and_a_picture_of_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = root.parent / "panel.png"
    assert run("--data", root, "--classes", root.parent / "classes.txt", "--panel", panel) == 0
    told = capsys.readouterr().out
    assert "images and masks in folder own" in told
    assert "0 errors, 0 warnings" in told
    with Image.open(panel) as picture:
        shown = {color for _, color in picture.getcolors(1 << 20) or []}
    assert (230, 159, 0) in shown  # the legend


def test_bad_data_ends_with_1_and_says_why(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (3, 7):
        (root / f"masks/{number}.png").unlink()
    panel = root.parent / "panel.jpg"
    assert run("--data", root, "--classes", root.parent / "classes.txt", "--panel", panel) == 1
    told = capsys.readouterr().out
    assert told.count("error: ") == 2
    assert "3.jpg has no mask" in told
    assert panel.exists()


def test_what_cannot_even_be_begun_is_told_at_once(root: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.jpg or \.png"):
        run("--data", root, "--classes", root.parent / "classes.txt", "--panel", "panel.gif")
    with pytest.raises(InputError, match="unknown data set 'owls'"):
        run("--data", root, "--dataset", "owls")


def test_data_of_which_nothing_fits_has_no_picture(tmp_path: Path) -> None:
    assert run("--data", tmp_path, "--dataset", "camvid", "--panel", tmp_path / "new/panel.png") == 1
    assert not any(tmp_path.iterdir())
