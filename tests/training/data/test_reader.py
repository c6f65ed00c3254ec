"""A photo and its labels, as every part of the trainer reads them."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.masks import by_value
from training.data.paired import PairedReader
from training.data.reader import read_pair, read_upright
from training.errors import InputError


@pytest.fixture
def reader(tmp_path: Path) -> PairedReader:
    """An empty data set."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    return PairedReader(tmp_path / "images", tmp_path / "masks", partial(by_value, ids={0: 0, 1: 1}))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_rotated_photo_fits_a_mask_drawn_upright(reader: PairedReader, suffix: str, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    stored = Image.new(mode, (32, 16))
    stored.paste("white", (0, 0, 16, 16))  # on the left: comes to lie on top
    stored.save(reader.images / f"a.{suffix}", exif=exif, quality=95)
    Image.new("L", (16, 32)).save(reader.masks / "a.png")
    image, labels = read_pair(reader, "a")
    assert image.size == (16, 32)
    assert labels.shape == (32, 16)
    assert np.asarray(image)[:, 8, 0].tolist() == pytest.approx([255] * 16 + [0] * 16, abs=9)


def test_a_mask_of_another_size_is_an_error_that_names_files_and_sizes(reader: PairedReader) -> None:
    Image.new("RGB", (30, 20)).save(reader.images / "a.jpg")
    Image.new("L", (20, 30)).save(reader.masks / "a.png")
    with pytest.raises(InputError, match=r"images/a\.jpg is 30x20 pixels .* mask .*masks/a\.png is 20x30"):
        read_pair(reader, "a")


def test_a_photo_that_cannot_be_read_is_an_error_that_names_it(reader: PairedReader) -> None:
    (reader.images / "a.jpg").write_bytes(b"no photo")
    Image.fromarray(np.zeros((2, 2), np.float32)).save(reader.images / "b.tif")
    whole = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(whole).save(reader.images / "c.png")
    (reader.images / "c.png").write_bytes((reader.images / "c.png").read_bytes()[:3000])
    for name in ("a.jpg", "b.tif", "c.png"):
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read_upright(reader, name[0])


def test_a_photo_that_vanished_is_missing(reader: PairedReader) -> None:
    Image.new("RGB", (2, 2)).save(reader.images / "a.jpg")
    assert reader.stems() == ["a"]
    (reader.images / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"images/a\.jpg is missing"):
        read_upright(reader, "a")
