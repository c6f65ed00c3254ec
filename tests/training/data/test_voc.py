"""Reading PASCAL VOC's layout with a choice of classes."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.contract import voc_color
from service.metrics import VOID
from training.data.datasets import DATASETS
from training.data.reader import MissingSplit, stored_image
from training.data.voc import VOC_CLASSES, VocReader
from training.errors import InputError

CHOICE = (0, 8, 12)  # background, cat, dog
STORED = np.array([[0, 8, 12, 9, 255]], np.uint8)  # 9 is a chair: not chosen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One image with all that a mask can hold."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("b\na\n")
    Image.new("RGB", (5, 1), "red").save(tmp_path / "JPEGImages/a.jpg")
    mask = Image.fromarray(STORED).convert("P")
    mask.putpalette(bytes(range(256)) * 3)  # masks are indexed: the index counts, not the colour
    mask.save(tmp_path / "SegmentationClass/a.png")
    return tmp_path


@pytest.mark.parametrize(("others_are_void", "chair"), [(True, VOID), (False, 0)])
def test_chosen_ids_become_the_models_own_and_others_void_or_background(root: Path, others_are_void: bool, chair: int) -> None:
    reader = VocReader(root, "val", CHOICE, others_are_void)
    assert reader.labels("a").tolist() == [[0, 1, 2, chair, VOID]]


def test_images_come_in_the_order_of_the_list(root: Path) -> None:
    reader = VocReader(root, "val", CHOICE, others_are_void=True)
    assert reader.stems() == ["b", "a"]
    with stored_image(reader, "a") as image:
        assert image.size == (5, 1)


def test_a_split_without_a_list_is_an_error_that_names_it(root: Path) -> None:
    with pytest.raises(MissingSplit, match=r"test\.txt"):
        VocReader(root, "test", CHOICE, others_are_void=True).stems()


def test_a_list_is_read_as_utf_8_or_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("io.text_encoding", lambda encoding, _=2: encoding or "ascii")  # pathlib asks it
    reader, file = VocReader(root, "val", CHOICE, others_are_void=True), root / "ImageSets/Segmentation/val.txt"
    file.write_text("Bäume\n", "utf-8")
    assert reader.stems() == ["Bäume"]
    file.write_text("Bäume\n", "latin-1")
    with pytest.raises(InputError, match=r"val\.txt is no text in UTF-8"):
        reader.stems()


def test_an_id_that_voc_does_not_know_is_an_error_that_names_it(root: Path) -> None:
    Image.fromarray(np.array([[0, 21, 21, 8, 254]], np.uint8)).save(root / "SegmentationClass/a.png")
    with pytest.raises(InputError, match=r"SegmentationClass/a\.png .*: 21 \(2 pixels\), 254 \(1 pixel\); .* 0\.\.20, 255"):
        VocReader(root, "val", CHOICE, others_are_void=True).labels("a")


def test_all_of_voc_has_its_ids_and_its_published_colours() -> None:
    voc = DATASETS["voc"]
    assert [entry.name for entry in voc.classes] == list(VOC_CLASSES)
    assert {entry.name: entry.color for entry in voc.classes} == {
        **{entry.name: voc_color(entry.id) for entry in voc.classes},
        "background": "#000000",
        "aeroplane": "#800000",
        "person": "#c08080",
        "tv monitor": "#004080",
    }
    assert voc_color(255) == "#e0e0c0"  # the border


def test_animals_train_on_others_as_background_and_are_judged_without_them() -> None:
    animals = DATASETS["voc-animals"]
    train, val = animals.train(Path("x")), animals.evaluation(Path("x"), "val")
    assert isinstance(train, VocReader)
    assert isinstance(val, VocReader)
    assert (train.split, train.others_are_void) == ("train", False)
    assert (val.split, val.others_are_void) == ("val", True)
    assert train.voc_ids == val.voc_ids
    voc = {"background": 0, "cat": 8, "cow": 10, "dog": 12, "horse": 13, "sheep": 17, "person": 15}
    assert dict(zip((entry.name for entry in animals.classes), train.voc_ids, strict=True)) == voc


@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set: the real data sets are not here")
def test_the_real_animals_are_all_there_and_no_image_is_in_both_splits() -> None:
    root = Path(os.environ["DATA_DIR"]) / "voc-animals"
    train, val = DATASETS["voc-animals"].train(root), DATASETS["voc-animals"].evaluation(root, "val")
    assert (len(train.stems()), len(val.stems())) == (3131, 228)
    assert not set(train.stems()) & set(val.stems())
    for reader in (train, val):
        for stem in reader.stems()[::60]:
            with stored_image(reader, stem) as image:
                assert reader.labels(stem).shape == image.size[::-1]
            assert set(np.unique(reader.labels(stem)).tolist()) <= {*range(7), VOID}
