"""The boundary F-score: what lies within the tolerance counts as right, and void counts for nothing."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.metrics import VOID
from training.boundary import TOLERANCE, BoundaryScore, f_score

CLASSES = 3
Labels = NDArray[np.uint8]


def label_maps(*values: int) -> st.SearchStrategy[Labels]:
    """Blocks of 8x8 pixels of the given labels: outlines with corners, 32x40 pixels, tolerance below half a pixel."""
    small = arrays(np.uint8, (4, 5), elements=st.sampled_from(values))
    return small.map(lambda labels: labels.repeat(8, 0).repeat(8, 1))


def square(shift: int, size: int = 400) -> Labels:
    """Class 1 on class 0, `shift` pixels to the right of the middle."""
    labels = np.zeros((size, size), np.uint8)
    labels[size // 4 : -size // 4, size // 4 + shift : 3 * size // 4 + shift] = 1
    return labels


def scored(truth: Labels, estimate: Labels) -> BoundaryScore:
    score = BoundaryScore(CLASSES)
    score.update(truth, estimate)
    return score


@given(label_maps(0, 1, 2, VOID))
def test_the_truth_itself_scores_1_in_every_class_that_has_a_boundary(truth: Labels) -> None:
    score = scored(truth, np.where(truth == VOID, 0, truth).astype(np.uint8))
    present = score.per_class[~np.isnan(score.per_class)]
    assert (present == 1).all()
    assert math.isnan(score.mean) if not present.size else score.mean == 1


@given(label_maps(0, 1, 2), label_maps(0, 1, 2))
def test_truth_and_estimate_may_change_places_where_both_have_the_class(one: Labels, other: Labels) -> None:
    there, back = scored(one, other).per_class, scored(other, one).per_class
    both = ~np.isnan(there) & ~np.isnan(back)
    assert np.allclose(there[both], back[both])
    assert (there[np.isnan(back) & ~np.isnan(there)] == 0).all()  # the estimate has no boundary of the class


@given(label_maps(0, 1, 2, VOID), label_maps(0, 1, 2), label_maps(0, 1, 2))
def test_what_the_estimate_says_of_void_pixels_changes_nothing(truth: Labels, estimate: Labels, other: Labels) -> None:
    changed = np.where(truth == VOID, other, estimate)
    assert np.array_equal(scored(truth, estimate).per_class, scored(truth, changed).per_class, equal_nan=True)


@given(label_maps(0, 1, 2, VOID), label_maps(0, 1, 2))
def test_turned_and_mirrored_images_score_the_same(truth: Labels, estimate: Labels) -> None:
    for turn in (np.transpose, np.fliplr, np.flipud):
        turned = scored(turn(truth), turn(estimate)).per_class
        assert np.allclose(scored(truth, estimate).per_class, turned, equal_nan=True)


@pytest.mark.parametrize("shift", range(-7, 8))
def test_a_shift_within_the_tolerance_is_right_and_one_beyond_is_not(shift: int) -> None:
    reach = TOLERANCE * math.hypot(400, 400)  # 4.2 pixels
    score = scored(square(0), square(shift))
    if abs(shift) <= reach:
        assert score.mean == 1
    else:
        assert 0.4 < score.mean < 0.6  # the two sides along the shift still fit, the two across it do not


@pytest.mark.parametrize("reach", [0.5, 3.2, 40])
def test_a_large_image_is_judged_strip_by_strip_with_the_same_result(reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    truth, estimate = (random.random((50, 30)) < 0.02 for _ in range(2))
    truth[:20] = False
    expected = f_score(truth, estimate, reach)
    for rows in (1, 7, 49):
        monkeypatch.setattr("training.boundary.STRIP", rows * 30)
        assert f_score(truth, estimate, reach) == expected


def test_the_distances_of_a_large_image_are_not_all_in_memory_at_once() -> None:
    truth = square(0, 3000)
    tracemalloc.start()
    scored(truth, truth)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * truth.size, peak / truth.size  # bytes a pixel


@pytest.mark.parametrize(("reach", "score"), [(3.0, 1), (2.9, 0)])
def test_a_pixel_at_the_very_tolerance_is_within_it(reach: float, score: float) -> None:
    truth, estimate = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    truth[:, 2] = estimate[:, 5] = True
    assert f_score(truth, estimate, reach) == score


def test_the_tolerance_grows_with_the_image() -> None:
    assert scored(square(8, 400), square(0, 400)).mean < 0.6
    assert scored(square(8, 800), square(0, 800)).mean == 1


def test_a_stray_blob_costs_precision_and_a_missing_one_recall() -> None:
    truth = square(0)
    extra = truth.copy()
    extra[5:25, 5:25] = 1
    one, two = 4 * 200 - 4, 4 * 20 - 4  # boundary pixels of class 1: the square's, the blob's
    precision = one / (one + two)
    expected = 2 * precision / (precision + 1)
    assert scored(truth, extra).per_class[1] == pytest.approx(expected)
    assert scored(extra, truth).per_class[1] == pytest.approx(expected)


def test_a_class_that_the_estimate_lacks_scores_0_and_one_that_the_truth_lacks_does_not_count() -> None:
    assert np.array_equal(scored(square(0), square(0) * np.uint8(2)).per_class, [1, 0, np.nan], equal_nan=True)


def test_the_edge_of_the_image_is_no_boundary() -> None:
    full = np.ones((20, 20), np.uint8)
    assert math.isnan(scored(full, full).mean)


def test_a_class_is_averaged_over_the_images_that_have_it() -> None:
    score = scored(square(0), square(0))
    score.update(square(0), np.zeros((400, 400), np.uint8))
    score.update(square(0) * np.uint8(2), square(0) * np.uint8(2))
    assert np.array_equal(score.per_class, [2 / 3, 1 / 2, 1])
    assert score.mean == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_label_maps_of_different_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        scored(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
