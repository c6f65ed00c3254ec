"""What check-data finds in a folder that somebody made."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.data.check import Findings, check
from training.data.find import find_dataset

SPLITS = {"train": 4, "val": 2}


def photo(seed: int) -> Image.Image:
    """A picture unlike any other."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8))


def labels() -> NDArray[np.uint8]:
    """Half background, a quarter cat, a quarter void."""
    result = np.zeros((6, 8), np.uint8)
    result[:, 4:] = 1
    result[:, 6:] = 255
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A flawless folder of two splits, and beside it a class list."""
    (tmp_path / "classes.txt").write_text("background\ncat #e69f00\n")
    for number, (split, count) in enumerate(SPLITS.items()):
        for kind in ("images", "masks"):
            (tmp_path / "own" / split / kind).mkdir(parents=True)
        for index in range(count):
            photo(10 * number + index).save(tmp_path / f"own/{split}/images/{split}{index}.png")
            Image.fromarray(labels()).save(tmp_path / f"own/{split}/masks/{split}{index}.png")
    return tmp_path / "own"


def found(root: Path) -> Findings:
    return check(find_dataset("folder", root, root.parent / "classes.txt"), root)


def test_a_flawless_folder_has_no_findings_but_its_frequencies(root: Path) -> None:
    findings = found(root)
    assert findings.errors == findings.warnings == ()
    assert [(split.name, len(split.stems)) for split in findings.splits] == [("train", 4), ("val", 2)]
    train = findings.splits[0].frequencies
    assert train.pixels.tolist() == [4 * 24, 4 * 12]
    assert train.images.tolist() == [4, 4]
    rows = {line.split()[0]: line.split()[1:] for line in findings.text().splitlines() if line}
    assert rows["background"] == ["66.667%", "4", "66.667%", "2"]
    assert rows["void"] == ["25.000%", "25.000%"]
    assert rows["0"] == ["errors,", "0", "warnings"]


def test_all_errors_are_told_together_and_what_fits_is_still_counted(root: Path) -> None:
    (root / "train/masks/train0.png").unlink()
    (root / "train/images/train1.png").unlink()
    Image.new("L", (8, 5)).save(root / "train/masks/train2.png")
    (root / "val/images/val0.png").write_bytes(b"no picture")
    Image.fromarray(labels() + 1).save(root / "val/masks/val1.png")
    findings = found(root)
    expected = [
        r"train: .*train/images/train0\.png has no mask",
        r"train: .*train/masks/train1\.png has no photo",
        r"train: .*train2\.png is 8x6 pixels .* is 8x5",
        r"val: .*val0\.png cannot be read",
        r"val: .*val1\.png holds values that are no class: 2 \(12 pixels\); classes are 0\.\.1, 255",
        r"val: no pair fits",
    ]
    assert len(findings.errors) == len(expected)
    for told, pattern in zip(findings.errors, expected, strict=True):
        assert re.search(pattern, told), told
    assert findings.splits[0].stems == ("train3",)
    assert findings.splits[0].frequencies.pixels.tolist() == [24, 12]
    assert "6 errors, 0 warnings" in findings.text()


def test_a_picture_in_two_splits_is_an_error_whatever_its_name_and_format(root: Path) -> None:
    photo(0).save(root / "val/images/val1.png", optimize=True)  # train0, in other bytes
    [error] = found(root).errors
    assert error.startswith("the same picture: train/train0, val/val1")


def test_a_picture_twice_in_a_split_is_a_warning_that_says_whether_its_labels_differ(root: Path) -> None:
    photo(0).save(root / "train/images/train1.png")
    photo(2).save(root / "train/images/train3.png")
    Image.fromarray(labels()[:, ::-1]).save(root / "train/masks/train3.png")
    findings = found(root)
    assert findings.errors == ()
    assert findings.warnings == (
        "the same picture: train/train0, train/train1",
        "the same picture with different labels: train/train2, train/train3",
    )


def test_a_name_in_two_splits_is_a_warning_if_the_pictures_differ(root: Path) -> None:
    photo(99).save(root / "val/images/train0.png")
    Image.fromarray(labels()).save(root / "val/masks/train0.png")
    findings = found(root)
    assert findings.errors == ()
    assert findings.warnings == ("train and val give 1 name to different pictures: train0",)


def test_a_class_that_a_split_lacks_is_a_warning(root: Path) -> None:
    (root.parent / "classes.txt").write_text("background\ncat\ndog\n")
    assert found(root).warnings == ("train: no pixel of dog", "val: no pixel of dog")


def test_a_single_class_is_a_warning(root: Path) -> None:
    (root.parent / "classes.txt").write_text("cat\n")
    for mask in root.glob("*/masks/*.png"):
        Image.fromarray(np.where(labels() == 1, 0, 255).astype(np.uint8)).save(mask)
    findings = found(root)
    assert findings.errors == ()
    assert findings.warnings == ("there is one class: every pixel will get it; list background as well",)


def test_masks_that_call_their_one_class_255_are_an_error(root: Path) -> None:
    for mask in root.glob("*/masks/*.png"):
        Image.fromarray(np.where(labels() == 1, 255, 0).astype(np.uint8)).save(mask)
    findings = found(root)
    assert findings.errors == (
        "train: all labelled pixels are background, 48 pixels are void; in grey masks 255 is void, not a class",
    )
    assert len(findings.warnings) == 1


def test_a_validation_split_of_void_alone_is_an_error(root: Path) -> None:
    for mask in root.glob("val/masks/*.png"):
        Image.fromarray(np.full_like(labels(), 255)).save(mask)
    [error] = found(root).errors
    assert error.startswith("val: all pixels are void")


def test_a_missing_split_is_an_error_but_for_test(tmp_path: Path, root: Path) -> None:
    findings = check(find_dataset("camvid", tmp_path), tmp_path)
    assert [split.name for split in findings.splits] == []
    assert len(findings.errors) == 2
    (root / "val").rename(root / "test")
    findings = found(root)
    assert [split.name for split in findings.splits] == ["train", "val", "test"]
    assert findings.errors == ()


def test_what_is_passed_over_is_a_warning_once_for_each_folder(root: Path) -> None:
    for name in ("a.bmp", "b.BMP", "notes", ".hidden"):
        (root / "train/images" / name).touch()
    (root / "train/images/old").mkdir()
    (root / "val").rename(root.parent / "val")  # both splits come from one folder
    (root / "train/masks/more").mkdir()
    findings = found(root)
    assert findings.errors == ()
    assert findings.warnings == (
        f"{root}/train/images holds what is not read: 3 files (.bmp, no ending), 1 folder",
        f"{root}/train/masks holds what is not read: 1 folder",
    )


def test_a_folder_that_looks_like_a_split_is_never_passed_over_in_silence(root: Path) -> None:
    for folder in ("holdout/images", "holdout/masks", "Test/images", "test/images", ".git/images", "notes"):
        (root / folder).mkdir(parents=True)
    findings = found(root)
    assert findings.errors == ()
    assert findings.warnings == (
        f"{root}/Test holds images/, but is not read: splits are train, val and test",
        f"{root}/holdout holds images/ and masks/, but is not read: splits are train, val and test",
        f"{root}/test holds images/ alone: it is not read as a split",
    )


def test_a_split_of_which_nothing_is_read_says_so(root: Path) -> None:
    for path in root.glob("val/*/*.png"):
        path.rename(path.with_suffix(".bmp"))
    findings = found(root)
    assert findings.errors == ("val: there is nothing that is read as an image",)
    assert [line.partition(": ")[2] for line in findings.warnings] == ["2 files (.bmp)", "2 files (.bmp)"]


def test_an_error_that_concerns_both_splits_is_told_once(root: Path) -> None:
    (root / "val").rename(root.parent / "val")
    for path in root.glob("train/*/train[1-3].png"):
        path.unlink()
    [error] = found(root).errors
    assert error == f"{root}/train/images holds 1 image; two are needed to train on one and validate on another"
    for path in root.glob("train/*/*"):
        path.rename(path.with_suffix(".bmp"))
    [error] = found(root).errors
    assert "holds 0 images; two are needed" in error
    assert "train/images holds what is not read: 1 file (.bmp)" in error


def test_a_file_that_is_no_image_is_told_in_words(root: Path) -> None:
    (root / "train/images/train0.png").write_bytes(b"")
    (root / "train/masks/train1.png").write_bytes(b"")
    (root / "train/images/train2.png").write_bytes(b"GIF89a")
    empty, empty_mask, other = found(root).errors
    assert empty.endswith("train0.png cannot be read: the file is empty")
    assert empty_mask.endswith("train1.png cannot be read as PNG or TIFF: the file is empty")
    assert other.endswith("train2.png cannot be read: it is damaged, or none of JPEG, PNG, WEBP, TIFF")


@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set: the real data sets are not here")
@pytest.mark.parametrize("name", ["camvid", "nuclei"])
def test_the_real_data_is_flawless(name: str) -> None:
    root = Path(os.environ["DATA_DIR"]) / name
    findings = check(find_dataset(name, root), root)
    assert findings.errors == findings.warnings == ()
