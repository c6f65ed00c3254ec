"""Folders of images and masks of the same stem: CamVid, the nuclei, and a person's own."""

import os
from functools import partial
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from service.metrics import VOID
from training.data.datasets import DATASETS
from training.data.masks import by_value
from training.data.paired import PairedReader
from training.data.reader import MissingSplit, Reader, read_pair
from training.errors import InputError

DATA = Path(os.environ.get("DATA_DIR", ""))
with_data = pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set: the real data sets are not here")


@pytest.fixture
def reader(tmp_path: Path) -> PairedReader:
    """Photos of four kinds of file, their masks, and what else lies about."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("b.JPG", "a.png", "c.webp", "d.tif"):
        Image.new("RGB", (3, 2)).save(tmp_path / "images" / name)
        Image.new("L", (3, 2), 1).save(tmp_path / "masks" / f"{name[0]}.png")
    for name in ("Thumbs.db", ".a.png", "notes.txt"):
        (tmp_path / "images" / name).touch()
    return PairedReader(tmp_path / "images", tmp_path / "masks", partial(by_value, ids={0: 0, 1: 5}))


def test_pairs_are_found_by_stem_whatever_the_format(reader: PairedReader) -> None:
    assert reader.stems() == ["a", "b", "c", "d"]
    for stem in reader.stems():
        image, labels = read_pair(reader, stem)
        assert image.size == (3, 2)
        assert (labels == 5).all()


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_name_is_the_same_however_its_letters_are_encoded(folder: str, reader: PairedReader) -> None:
    for kind in ("images", "masks"):
        name = normalize("NFD" if kind == folder else "NFC", "Bäume.png")  # macOS may have stored one of them
        Image.new("L", (3, 2), 1).save(getattr(reader, kind) / name)
    assert reader.stems() == ["Bäume", "a", "b", "c", "d"]
    read_pair(reader, "Bäume")


def test_a_choice_of_stems_is_a_split(reader: PairedReader) -> None:
    assert PairedReader(reader.images, reader.masks, reader.decode, frozenset({"a", "d", "gone"})).stems() == ["a", "d"]


def test_either_without_the_other_is_told_and_not_left_out(reader: PairedReader) -> None:
    (reader.masks / "a.png").unlink()
    (reader.images / "b.JPG").unlink()
    fresh = PairedReader(reader.images, reader.masks, reader.decode)
    assert fresh.stems() == ["a", "b", "c", "d"]
    with pytest.raises(InputError, match=r"images/a\.png has no mask: there is no .*masks/a with"):
        read_pair(fresh, "a")
    with pytest.raises(InputError, match=r"masks/b\.png has no photo"):
        read_pair(fresh, "b")


def test_two_photos_of_one_name_are_an_error(reader: PairedReader) -> None:
    Image.new("RGB", (3, 2)).save(reader.images / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png have the same name"):
        reader.stems()


def test_a_name_that_is_no_text_is_an_error_that_shows_its_bytes(reader: PairedReader) -> None:
    os.close(os.open(os.fsencode(reader.images) + b"/caf\xe9.jpg", os.O_CREAT))
    with pytest.raises(InputError, match=r"images holds b'caf\\xe9\.jpg', which is no name in UTF-8: rename it"):
        reader.stems()


def test_a_split_without_a_folder_is_missing(tmp_path: Path) -> None:
    for name in ("camvid", "nuclei"):
        with pytest.raises(MissingSplit, match="test"):
            DATASETS[name].evaluation(tmp_path, "test").stems()


def test_camvids_twelfth_value_is_void_and_a_thirteenth_an_error(tmp_path: Path) -> None:
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.arange(12, dtype=np.uint8)[None]).save(tmp_path / "trainannot/a.png")
    Image.fromarray(np.arange(13, dtype=np.uint8)[None]).save(tmp_path / "trainannot/b.png")
    reader = DATASETS["camvid"].train(tmp_path)
    assert reader.labels("a").tolist() == [[*range(11), VOID]]
    with pytest.raises(InputError, match=r"b\.png .*: 12 \(1 pixel\)"):
        reader.labels("b")


def spread(reader: Reader) -> list[str]:
    """A few stems of a split."""
    return reader.stems()[::40]


@with_data
def test_the_real_camvid_is_all_there() -> None:
    camvid = DATASETS["camvid"]
    train, val = camvid.train(DATA / "camvid"), camvid.evaluation(DATA / "camvid", "val")
    assert (len(train.stems()), len(val.stems())) == (367, 101)
    assert not set(train.stems()) & set(val.stems())
    names = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
    assert " ".join(entry.name for entry in camvid.classes) == names
    for reader in (train, val):
        for stem in spread(reader):
            image, labels = read_pair(reader, stem)
            assert image.size == (480, 360)
            assert set(np.unique(labels).tolist()) <= {*range(11), VOID}


@with_data
def test_the_real_nuclei_are_all_there() -> None:
    nuclei = DATASETS["nuclei"]
    train, val = nuclei.train(DATA / "nuclei"), nuclei.evaluation(DATA / "nuclei", "val")
    assert (len(train.stems()), len(val.stems())) == (464, 100)
    assert not set(train.stems()) & set(val.stems())
    for reader in (train, val):
        for stem in spread(reader):
            assert set(np.unique(read_pair(reader, stem)[1]).tolist()) <= {0, 1}
