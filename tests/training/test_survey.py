"""A survey finds the figures of a split and its worst and best images."""

import math

import numpy as np

from service.metrics import VOID
from tests.training.drawn_split import DrawnSplit, red_segmenter
from training.evaluate import evaluate
from training.survey import examine, survey

TRUTH = np.zeros((30, 40), np.uint8)
TRUTH[10:20, 10:20] = 1
HALF = TRUTH.copy()
HALF[15:20] = 0
SPLIT = DrawnSplit(
    {
        "good": (TRUTH, TRUTH),
        "bad": (TRUTH, TRUTH * np.uint8(2)),
        "void": (np.full((30, 40), VOID, np.uint8), TRUTH),
        "fair": (TRUTH, HALF),
    }
)


def test_images_are_ranked_from_worst_to_best_and_those_that_are_all_void_are_not() -> None:
    assert survey(red_segmenter(3), SPLIT, 3).ranked == ("bad", "fair", "good")


def test_a_survey_counts_what_an_evaluation_counts() -> None:
    found = survey(red_segmenter(3), SPLIT, 3)
    assert (found.confusion.counts == evaluate(red_segmenter(3), SPLIT, 3, SPLIT.stems()).counts).all()
    assert found.boundary.images.tolist() == [3, 3, 0]
    assert 1 / 3 < found.boundary.per_class[1] < 1


def test_an_example_holds_what_was_compared() -> None:
    example = examine(red_segmenter(3), SPLIT, "fair", 3)
    assert (example.estimate == HALF).all() and (example.truth == TRUTH).all()
    assert example.image.size == (40, 30)
    assert example.mean_iou == (50 / 100 + 1100 / 1150) / 2
    assert math.isnan(examine(red_segmenter(3), SPLIT, "void", 3).mean_iou)
