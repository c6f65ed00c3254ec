"""The confusion matrix and what is read from it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.metrics import VOID, ConfusionMatrix

CLASSES = 4
Labels = NDArray[np.uint8]


@st.composite
def splits(draw: st.DrawFn) -> list[tuple[Labels, Labels]]:
    """A few images: truth with void, and estimate; classes are often absent."""
    used = draw(st.lists(st.integers(0, CLASSES - 1), min_size=1))
    label, size = st.sampled_from(used), draw(st.integers(1, 12))

    def image(values: st.SearchStrategy[int]) -> Labels:
        return np.array(draw(st.lists(values, min_size=size, max_size=size)), np.uint8).reshape(1, size)

    return [(image(label | st.just(VOID)), image(label)) for _ in range(draw(st.integers(1, 3)))]


def counted(split: list[tuple[Labels, Labels]]) -> ConfusionMatrix:
    """One matrix over all images."""
    matrix = ConfusionMatrix(CLASSES)
    for truth, estimate in split:
        matrix.update(truth, estimate)
    return matrix


def pairs(split: list[tuple[Labels, Labels]]) -> list[tuple[int, int]]:
    """(truth, estimate) of every pixel that is not void, of all images."""
    both = ((int(t), int(e)) for truth, estimate in split for t, e in zip(truth.flat, estimate.flat, strict=True))
    return [(t, e) for t, e in both if t != VOID]


def mean(values: list[float]) -> float:
    """NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


@given(splits())
def test_counts_are_those_of_a_loop_over_pixels(split: list[tuple[Labels, Labels]]) -> None:
    expected = np.zeros((CLASSES, CLASSES), int)
    for truth, estimate in pairs(split):
        expected[truth, estimate] += 1
    assert (counted(split).counts == expected).all()


@given(splits())
def test_figures_are_those_of_sets_of_pixels(split: list[tuple[Labels, Labels]]) -> None:
    pixels = pairs(split)
    jaccard, recall, weighted = [], [], 0.0
    for c in range(CLASSES):
        both = sum(t == c == e for t, e in pixels)
        either = sum(c in pair for pair in pixels)
        true = sum(t == c for t, _ in pixels)
        jaccard.append(both / either if either else math.nan)
        if true:
            recall.append(both / true)
            weighted += true * both / either
    matrix = counted(split)
    assert np.allclose(matrix.jaccard, jaccard, equal_nan=True)
    assert np.allclose(matrix.mean_iou, mean([j for j in jaccard if not math.isnan(j)]), equal_nan=True)
    assert np.allclose(matrix.weighted_iou, weighted / len(pixels) if pixels else math.nan, equal_nan=True)
    assert np.allclose(matrix.pixel_accuracy, mean([float(t == e) for t, e in pixels]), equal_nan=True)
    assert np.allclose(matrix.mean_class_accuracy, mean(recall), equal_nan=True)


@given(splits())
def test_one_matrix_over_all_images_is_the_sum_of_theirs(split: list[tuple[Labels, Labels]]) -> None:
    assert (counted(split).counts == sum(counted([image]).counts for image in split)).all()


@given(splits())
def test_a_matrix_made_of_counts_gives_the_same_figures_and_goes_on_counting(split: list[tuple[Labels, Labels]]) -> None:
    counts = counted(split).counts
    matrix = ConfusionMatrix.from_counts(counts.tolist())
    assert np.array_equal(matrix.jaccard, counted(split).jaccard, equal_nan=True)
    matrix.update(*split[0])
    assert (matrix.counts == counted([*split, split[0]]).counts).all()
    assert (counts == counted(split).counts).all()


@pytest.mark.parametrize("counts", [[1, 2], [[1, 2, 3], [4, 5, 6]], [[0.5, 1], [1, 1]], [[1, -1], [0, 1]], [[1], [2, 3]]])
def test_what_is_no_square_table_of_counts_is_an_error(counts: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"square|inhomogeneous"):
        ConfusionMatrix.from_counts(counts)


def test_a_class_in_neither_truth_nor_estimate_is_left_out_and_one_in_the_estimate_alone_is_not() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 0]], np.uint8), np.array([[0, 1]], np.uint8))
    assert np.array_equal(matrix.jaccard, [0.5, 0, np.nan], equal_nan=True)
    assert matrix.mean_iou == 0.25
    assert matrix.mean_class_accuracy == 0.5


def test_void_pixels_count_for_nothing_whatever_the_estimate_says() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.full((2, 2), VOID, np.uint8), np.array([[0, 1], [1, 0]], np.uint8))
    assert matrix.counts.sum() == 0
    figures = matrix.mean_iou, matrix.weighted_iou, matrix.pixel_accuracy, matrix.mean_class_accuracy
    assert all(math.isnan(figure) for figure in figures)


def test_255_classes_fit_beside_void() -> None:
    matrix = ConfusionMatrix(255)
    labels = np.arange(256, dtype=np.uint8)[None]
    matrix.update(labels, labels)
    assert (matrix.counts == np.eye(255)).all()


@pytest.mark.parametrize(
    ("truth", "estimate", "fault"),
    [
        ([[0, 1]], [[0, 1, 1]], "differ in shape"),
        ([[0, 1]], [[0], [1]], "differ in shape"),
        ([[2, 1]], [[0, 1]], "outside 0..1"),
        ([[0, 1]], [[0, 2]], "outside 0..1"),
        ([[0, 1]], [[0, VOID]], "outside 0..1"),
    ],
)
def test_labels_that_are_no_class_are_an_error_and_are_not_counted(
    truth: list[list[int]], estimate: list[list[int]], fault: str
) -> None:
    matrix = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=fault):
        matrix.update(np.array(truth, np.uint8), np.array(estimate, np.uint8))
    assert matrix.counts.sum() == 0
