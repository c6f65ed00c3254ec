"""What is found where nothing is."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.contract import ClassInfo
from training.data.dataset import class_table
from training.errors import InputError
from training.evaluate import Segmenter
from training.export.empty_scenes import find_scenes, measure_scenes

CLASSES: tuple[ClassInfo, ...] = class_table(("background", "#000000"), ("cat", "#400000"), ("person", "#c08080"))


def by_band(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Class scores are the bands: red is background, green a cat, blue a person."""
    return image.transpose(0, 3, 1, 2).astype(np.float32)


SEGMENTER = Segmenter(by_band, long_side=None, pad_value=0, stride=8, output_stride=1)


def write(path: Path, colors: list[tuple[str, int]]) -> Path:
    """An image 10 px wide of coloured bars, each so many rows high."""
    rows = [np.asarray(Image.new("RGB", (10, height), color)) for color, height in colors]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
    return path


def test_every_class_that_no_image_holds_is_wrong(tmp_path: Path) -> None:
    photos = [write(tmp_path / "a.png", [("red", 6), ("lime", 3), ("blue", 1)]), write(tmp_path / "b.png", [("red", 30)])]
    scene = measure_scenes(SEGMENTER, CLASSES, find_scenes(["background"], photos))
    assert (scene.fraction, scene.worst_image_fraction) == (4 / 40, 4 / 10)
    assert scene.classes == ["cat", "person"]
    assert scene.images == "2 images: a, b"


def test_what_the_images_may_hold_is_right(tmp_path: Path) -> None:
    """Streets with people and without animals."""
    write(tmp_path / "streets" / "val" / "a.webp", [("red", 6), ("lime", 2), ("blue", 8)])
    for name in ("notes.txt", "._a.webp"):  # macOS leaves the second on disks of other systems
        (tmp_path / "streets" / "val" / name).write_text("no image")
    scene = measure_scenes(SEGMENTER, CLASSES, find_scenes(["background", "person"], [tmp_path / "streets" / "val"]))
    assert scene.fraction == pytest.approx(2 / 16, abs=0.02)  # WebP is not exact
    assert scene.classes == ["cat"]
    assert scene.images == "1 image: streets/val"


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        find_scenes(["background"], [tmp_path])
    with pytest.raises(InputError, match=r"no such file or folder: .*nowhere"):
        find_scenes(["background"], [tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no images"):
        find_scenes(["background"], [])


@pytest.mark.parametrize("content", [b"no picture", None])
def test_an_image_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    photo = tmp_path / "broken.tif"
    if content is None:
        Image.fromarray(np.ones((2, 2), np.float32)).save(photo)
    else:
        photo.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.tif cannot be read"):
        measure_scenes(SEGMENTER, CLASSES, find_scenes(["background"], [photo]))


def test_a_class_that_the_model_does_not_know_is_named(tmp_path: Path) -> None:
    scenes = find_scenes(["background", "horse"], [write(tmp_path / "a.png", [("red", 1)])])
    with pytest.raises(InputError, match="horse: no class of the model, which knows background, cat, person"):
        measure_scenes(SEGMENTER, CLASSES, scenes)
