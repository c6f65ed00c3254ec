"""What is found where nothing is."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.contract import ClassInfo
from training.data.dataset import class_table
from training.empty_scenes import plain_photos, street_frames
from training.errors import InputError
from training.evaluate import Segmenter

CLASSES: tuple[ClassInfo, ...] = class_table(("background", "#000000"), ("cat", "#400000"), ("person", "#c08080"))


def by_band(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Class scores are the bands: red is background, green a cat, blue a person."""
    return image.transpose(0, 3, 1, 2).astype(np.float32)


SEGMENTER = Segmenter(by_band, long_side=None, pad_value=0, stride=8, output_stride=1)


def write(path: Path, colors: list[tuple[str, int]]) -> Path:
    """An image 10 px wide of coloured bars, each so many rows high."""
    rows = [np.asarray(Image.new("RGB", (10, height), color)) for color, height in colors]
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
    return path


def test_all_classes_but_background_are_wrong_in_plain_photos(tmp_path: Path) -> None:
    photos = [write(tmp_path / "a.png", [("red", 6), ("lime", 3), ("blue", 1)]), write(tmp_path / "b.png", [("red", 30)])]
    scene = plain_photos(SEGMENTER, CLASSES, photos)
    assert (scene.fraction, scene.worst_image_fraction) == (4 / 40, 4 / 10)
    assert scene.classes == ["cat", "person"]
    assert scene.images == "2 photos without any of the classes: a, b"


def test_people_are_right_in_street_frames(tmp_path: Path) -> None:
    write(tmp_path / "val" / "a.webp", [("red", 6), ("lime", 2), ("blue", 8)])
    scene = street_frames(SEGMENTER, CLASSES, tmp_path)
    assert scene.fraction == pytest.approx(2 / 16, abs=0.02)  # WebP is not exact
    assert scene.classes == ["cat"]
    assert scene.images == "CamVid val, 1 street frames"


def test_no_photos_are_no_measurement() -> None:
    with pytest.raises(InputError, match="no photos"):
        plain_photos(SEGMENTER, CLASSES, [])
