"""A person's own folder, in each of its layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.class_list import ClassList, read_class_list
from training.data.find import find_dataset
from training.data.folder import folder_reader
from training.data.reader import MissingSplit, read_pair
from training.errors import InputError


def write_pairs(folder: Path, stems: list[str]) -> None:
    """Photos and grey masks in `folder`/images and `folder`/masks."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for stem in stems:
        Image.new("RGB", (4, 3), "green").save(folder / "images" / f"{stem}.jpg")
        Image.fromarray(np.array([[0, 1, 1, 255]] * 3, np.uint8)).save(folder / "masks" / f"{stem}.png")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A class list of two."""
    path = tmp_path / "classes.txt"
    path.write_text("background\ncat #ff0000\n")
    return path


@pytest.fixture
def given(classes: Path) -> ClassList:
    return read_class_list(classes)


def test_images_and_masks_are_split_by_name(tmp_path: Path, classes: Path) -> None:
    stems = [f"photo{number}" for number in range(20)]
    write_pairs(tmp_path / "garden", stems)
    dataset = find_dataset("folder", tmp_path / "garden", classes)
    train, val = dataset.train(tmp_path / "garden"), dataset.evaluation(tmp_path / "garden", "val")
    assert sorted(train.stems() + val.stems()) == sorted(stems)
    assert len(val.stems()) >= 2
    assert read_pair(train, train.stems()[0])[1].tolist() == [[0, 1, 1, 255]] * 3
    assert dataset.description == "images and masks in folder garden"
    assert [entry.name for entry in dataset.classes] == ["background", "cat"]


@pytest.mark.parametrize(
    ("layout", "train", "val"),
    [
        ({"train": ["a", "b"], "val": ["c"]}, ["a", "b"], ["c"]),
        ({".": ["a", "b"], "val": ["c"]}, ["a", "b"], ["c"]),
        ({"train": ["a", "b"], "valid": ["c"]}, ["a", "b"], ["c"]),
        ({".": ["a", "b"], "validation": ["c"]}, ["a", "b"], ["c"]),
    ],
)
def test_a_validation_split_chosen_by_hand_is_kept(
    tmp_path: Path, given: ClassList, layout: dict[str, list[str]], train: list[str], val: list[str]
) -> None:
    for folder, stems in layout.items():
        write_pairs(tmp_path / "own" / folder, stems)
    assert folder_reader(tmp_path / "own", "train", given).stems() == train
    assert folder_reader(tmp_path / "own", "val", given).stems() == val


def test_without_val_a_share_of_train_is_held_out(tmp_path: Path, given: ClassList) -> None:
    write_pairs(tmp_path / "own/train", ["a", "b", "c"])
    write_pairs(tmp_path / "own/test", ["d"])
    train, val = (folder_reader(tmp_path / "own", split, given).stems() for split in ("train", "val"))
    assert sorted(train + val) == ["a", "b", "c"]
    assert len(val) == 1
    assert folder_reader(tmp_path / "own", "test", given).stems() == ["d"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_in_two_places_are_never_passed_over_in_silence(tmp_path: Path, given: ClassList, split: str) -> None:
    for folder in (".", "train", "val", "test"):
        write_pairs(tmp_path / "own" / folder, ["a", "b"])
    with pytest.raises(InputError, match=r"own holds images/ and train/images/: which of them count\?"):
        folder_reader(tmp_path / "own", split, given)


def test_validation_images_in_two_places_are_no_guess(tmp_path: Path, given: ClassList) -> None:
    for folder in (".", "val", "valid"):
        write_pairs(tmp_path / "own" / folder, ["a", "b"])
    with pytest.raises(InputError, match=r"own holds val/images/ and valid/images/: which of them count\?"):
        folder_reader(tmp_path / "own", "train", given)


def test_a_folder_without_images_is_told_what_is_expected(tmp_path: Path, given: ClassList) -> None:
    with pytest.raises(MissingSplit, match=r"no images of split 'train': expected images/ and masks/"):
        folder_reader(tmp_path, "train", given)
    write_pairs(tmp_path / "own", ["a"])
    with pytest.raises(MissingSplit, match="no images of split 'test'"):
        folder_reader(tmp_path / "own", "test", given)
    with pytest.raises(InputError, match="holds 1 image; two are needed"):
        folder_reader(tmp_path / "own", "train", given)


def test_what_does_not_go_together_is_told(tmp_path: Path, classes: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/labelmap.txt").touch()
    for name, root, listed, message in [
        ("folder", tmp_path / "nowhere", classes, "nowhere is no folder"),
        ("folder", tmp_path, None, "needs a class list"),
        ("folder", tmp_path / "export", classes, "looks like an export of CVAT"),
        ("folder", tmp_path / "export.zip", classes, "looks like an export of CVAT"),
        ("camvid", tmp_path, classes, "'camvid' has its own classes"),
        ("cvat", tmp_path, classes, "'cvat' has its own classes"),
        ("cityscapes", tmp_path, None, "unknown data set 'cityscapes'; there are: voc-animals, voc, .*, folder, cvat"),
    ]:
        with pytest.raises(InputError, match=message):
            find_dataset(name, root, listed)
