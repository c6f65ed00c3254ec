"""A finished run's pictures lie in its folder, the most extreme images first."""

import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.drawn_split import DrawnSplit, red_segmenter
from training.data.dataset import class_table
from training.data.reader import Reader
from training.evaluate import Labeller
from training.pictures.gallery import EXTREMES, write_gallery
from training.pictures.panel import CELL
from training.survey import Example, examine, survey

CLASSES = class_table(("ground", "#0000ff"), ("hit", "#ff0000"))


def test_the_gallery_shows_worst_and_best_images_and_both_plots(tmp_path: Path) -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[:, :30] = 1
    drawings = {}
    for number in range(EXTREMES + 3):
        estimate = truth.copy()
        estimate[:, : 2 * number] = 0  # the higher the number, the worse
        drawings[f"image {number}"] = truth, estimate
    split, segmenter = DrawnSplit(drawings), red_segmenter(2)
    write_gallery(tmp_path, survey(segmenter, split, 2), segmenter, split, CLASSES)
    assert {path.name for path in tmp_path.iterdir()} == {"confusion.png", "iou.png", "worst.png", "best.png"}
    red = {}
    for name in ("worst", "best"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            estimate = np.asarray(picture)[16 : 16 + 40, 2 * CELL[0] : 2 * CELL[0] + 60].astype(int)  # of the first example
        red[name] = (estimate[..., 0] > estimate[..., 2]).sum()
    assert red["worst"] < 0.5 * red["best"]


def test_the_images_of_a_panel_are_in_memory_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[weakref.ref[Example]] = []

    def recorded(segmenter: Labeller, reader: Reader, stem: str, classes: int) -> Example:
        assert sum(earlier() is not None for earlier in examined) <= 1
        example = examine(segmenter, reader, stem, classes)
        examined.append(weakref.ref(example))
        return example

    blank = np.zeros((4, 6), np.uint8)
    split, segmenter = DrawnSplit({f"image {number}": (blank, blank) for number in range(EXTREMES)}), red_segmenter(2)
    found = survey(segmenter, split, 2)
    monkeypatch.setattr("training.pictures.gallery.examine", recorded)
    write_gallery(tmp_path, found, segmenter, split, CLASSES)
    assert len(examined) == 2 * EXTREMES
