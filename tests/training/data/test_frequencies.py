"""Class frequencies, worked out by hand."""

from pathlib import Path

import numpy as np
from PIL import Image

from service.metrics import VOID
from training.data.datasets import DATASETS
from training.data.frequencies import class_frequencies, count_classes

MAPS = [
    np.array([[0, 0, 0, 1], [0, 0, VOID, 1]], np.uint8),
    np.array([[0, 0]], np.uint8),
    np.array([[3, VOID, VOID]], np.uint8),
]


def test_pixels_images_and_void_are_counted_by_class() -> None:
    found = count_classes(MAPS, 4)
    assert found.pixels.tolist() == [7, 2, 0, 1]
    assert found.images.tolist() == [2, 1, 0, 1]
    assert found.void == 3


def test_the_base_of_median_frequency_balancing_is_the_images_that_hold_the_class() -> None:
    found = count_classes(MAPS, 4)
    assert found.pixels_where_present.tolist() == [9, 7, 0, 1]
    frequency = found.pixels[found.images > 0] / found.pixels_where_present[found.images > 0]
    assert np.allclose(frequency, [7 / 9, 2 / 7, 1])


def test_a_split_is_counted_through_its_reader(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    for stem in ("a", "b"):
        Image.fromarray(np.array([[0, 1, 1]], np.uint8)).save(tmp_path / f"train/masks/{stem}.png")
    assert class_frequencies(DATASETS["nuclei"].train(tmp_path), 2).pixels.tolist() == [2, 4]


def test_an_empty_split_has_no_pixels() -> None:
    found = count_classes([], 2)
    assert found.pixels.tolist() == found.images.tolist() == [0, 0]
    assert found.void == 0
