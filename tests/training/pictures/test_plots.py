"""Plots are pictures that change with what they show, for few classes and for many."""

import io

import matplotlib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.metrics import ConfusionMatrix
from training.pictures.bars import iou_bars
from training.pictures.confusion import confusion_picture
from training.pictures.curves import compared_curves, curves
from training.pictures.figure import color, line

PALE, DARK = (247, 251, 255), (8, 48, 107)  # none and all of a class's pixels in a confusion matrix


def pixels(content: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) of a PNG file."""
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def table(epochs: int, classes: int, height: float = 0.8) -> list[dict[str, str]]:
    """Made-up rows of a metrics table."""
    return [
        {"epoch": str(epoch), "train_loss": str(1 / epoch), "val_mean_iou": str(height * epoch / epochs)}
        | {f"val_iou_class{number}": str(epoch / epochs * number / classes) for number in range(classes)}
        for epoch in range(1, epochs + 1)
    ]


def names(classes: int) -> list[str]:
    return [f"class {number}" for number in range(classes)]


def test_curves_show_every_epoch_in_a_picture_of_one_size() -> None:
    first, second = (pixels(curves(table(4, 3)[:count])) for count in (2, 3))
    assert first.shape == second.shape == (400, 1100, 3)
    assert (first != second).any()


def test_a_class_that_was_absent_in_an_epoch_leaves_a_gap_in_its_curve() -> None:
    rows = table(5, 2)
    whole = pixels(curves(rows))
    rows[2]["val_iou_class1"] = "nan"
    assert (pixels(curves(rows)) != whole).any()


def test_each_of_21_classes_has_a_look_of_its_own() -> None:
    assert len({(color(number), line(number)) for number in range(21)}) == 21


def test_runs_of_different_lengths_share_one_plot() -> None:
    one, two = table(4, 2), table(9, 2, height=0.5)
    assert (pixels(compared_curves({"one": one, "two": two})) != pixels(compared_curves({"one": one, "two": two[:4]}))).any()


@pytest.mark.parametrize("classes", [2, 11])
def test_a_perfect_confusion_matrix_is_dark_on_the_diagonal_and_pale_beside_it(classes: int) -> None:
    picture = pixels(confusion_picture(ConfusionMatrix.from_counts(50 * np.eye(classes, dtype=int)), names(classes)))
    pale, dark = ((picture == ink).all(-1).sum() for ink in (PALE, DARK))
    assert dark > 0.5 * (pale + dark) / classes


def test_rows_of_a_confusion_matrix_are_the_truth() -> None:
    picture = pixels(confusion_picture(ConfusionMatrix.from_counts([[80, 20], [0, 100]]), names(2)))
    none, all_of_it = (np.argwhere((picture == ink).all(-1)).mean(0) for ink in (PALE, DARK))
    assert none[0] == pytest.approx(all_of_it[0], abs=10)  # both of the second class's pixels: side by side
    assert none[1] < all_of_it[1] - 100


def drawn(*shown: str) -> list[NDArray[np.uint8]]:
    """Every kind of plot, of classes or runs with these names."""
    rows, counts = table(3, 0), 50 * np.eye(len(shown), dtype=int)
    for row in rows:
        row |= {f"val_iou_{name}": "0.5" for name in shown}
    jaccard = np.full(len(shown), 0.5)
    plots = [
        curves(rows),
        compared_curves(dict.fromkeys(shown, rows)),
        iou_bars(dict.fromkeys(shown, jaccard), names(len(shown))),
    ]
    return [pixels(plot) for plot in (*plots, confusion_picture(ConfusionMatrix.from_counts(counts), shown))]


@pytest.mark.parametrize("name", [r"price $\frac$", "$a_1$", r"\$ and $"])
def test_a_name_with_dollar_signs_is_no_formula(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(name, "other")
    for module in ("curves", "bars", "confusion"):
        monkeypatch.setattr(f"training.pictures.{module}.literal", lambda name: name)
    with matplotlib.rc_context({"text.parse_math": False}):
        expected = drawn(name, "other")
    assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))


def test_a_name_that_begins_with_an_underscore_is_in_every_legend() -> None:
    for one, other in zip(drawn("_a", "c"), drawn("_b", "c"), strict=True):
        assert not np.array_equal(one, other)


def test_the_share_of_a_true_class_counts_not_its_size() -> None:
    counts = np.array([[80, 20], [0, 100]])
    scaled = counts * [[1000], [1]]
    straight, heavier = (pixels(confusion_picture(ConfusionMatrix.from_counts(c), names(2))) for c in (counts, scaled))
    assert (straight == heavier).all()


def test_a_class_without_true_pixels_has_an_empty_row_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    pixels(confusion_picture(ConfusionMatrix.from_counts([[5, 0], [0, 0]]), names(2)))
    assert not recwarn.list


def test_every_run_adds_bars_and_an_absent_class_has_none() -> None:
    jaccard = np.array([0.2, np.nan, 1.0])
    one, two = pixels(iou_bars({"a": jaccard}, names(3))), pixels(iou_bars({"a": jaccard, "b": jaccard}, names(3)))
    assert two.shape[0] > one.shape[0] and two.shape[1] == one.shape[1]
    blue = (0, 0x72, 0xB2)
    lengths = [(row == blue).all(-1).sum() for row in one]
    thick = [length for length in lengths if length > 50]
    assert min(thick) == pytest.approx(0.2 * max(thick), abs=3)
