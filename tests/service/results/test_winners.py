"""Labels and probabilities of pixels, block by block: what geometry says of them all at once."""

import weakref
from collections.abc import Collection, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.results import blocks as blocks_module
from service.results.blocks import blocks
from service.results.winners import winners
from tests.service.helpers.scenes import Scene, enlarged, scenes

NEAR_TIE = 1e-5
# Of a block: bytes, pixels, columns, scores.
limits = st.tuples(st.integers(1, 4000), st.integers(1, 300), st.integers(1, 50), st.integers(1, 20))


def banded(scores: NDArray[np.float32], cuts: Collection[int]) -> Iterator[NDArray[np.float32]]:
    """The scores from the top, cut there."""
    edges = sorted({0, scores.shape[1], *(cut % scores.shape[1] for cut in cuts)})
    return (scores[:, top:bottom] for top, bottom in pairwise(edges))


def found(scene: Scene, cuts: Collection[int] = ()) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels and probabilities of all pixels, put together; each pixel is in one block."""
    scores, working, user, stride = scene
    labels, probability = np.zeros(user[::-1], np.uint8), np.zeros(user[::-1], np.float32)
    seen = np.zeros(user[::-1], np.int64)
    for block in blocks(banded(scores, cuts), scores.shape[1], working, user, stride):
        won = winners(block, Cancellation())
        assert np.isin(won.labels, won.candidates).all()
        labels[block.slices], probability[block.slices] = won.labels, won.probability
        seen[block.slices] += 1
    assert (seen == 1).all()
    return labels, probability


@given(scenes(), limits, st.sets(st.integers(0, 100), max_size=4))
@settings(max_examples=200)
def test_they_are_those_of_the_enlarged_scores_however_large_the_blocks_are(
    scene: Scene, limits: tuple[int, int, int, int], cuts: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in zip(("BYTES", "PIXELS", "COLUMNS", "SCORES"), limits, strict=True):
            patch.setattr(blocks_module, f"BLOCK_{name}", limit)
        labels, probability = found(scene, cuts)
    scores = enlarged(*scene)
    best, won = scores.max(0), np.take_along_axis(scores, labels[None].astype(np.intp), 0)[0]
    assert (won >= best - NEAR_TIE).all()
    assert np.allclose(probability, 1 / np.exp(scores - best).sum(0), atol=1e-5)


@given(scenes(), st.sampled_from([30.0, 300.0, 1e4]))
def test_winners_that_are_far_ahead_are_found_as_well(scene: Scene, margin: float) -> None:
    scores, working, user, stride = scene
    scaled = scores * np.float32(margin), working, user, stride
    labels, probability = found(scaled)
    enlarged_scores = enlarged(*scaled)
    best, won = enlarged_scores.max(0), np.take_along_axis(enlarged_scores, labels[None].astype(np.intp), 0)[0]
    assert (won >= best - margin * NEAR_TIE).all()
    assert np.allclose(probability, 1 / np.exp(enlarged_scores - best).sum(0), atol=margin * NEAR_TIE)


@given(scenes(), st.sets(st.integers(0, 100), max_size=4))
def test_how_the_scores_come_makes_no_difference(scene: Scene, cuts: set[int]) -> None:
    (labels, probability), (same_labels, same_probability) = found(scene), found(scene, cuts)
    assert np.array_equal(labels, same_labels) and np.array_equal(probability, same_probability)


@given(scenes())
def test_of_classes_that_are_alike_the_first_wins(scene: Scene) -> None:
    scores, *rest = scene
    labels, probability = found((np.repeat(scores, 3, 0), *rest))  # type: ignore[arg-type]
    assert (labels % 3 == 0).all()
    assert (probability <= np.float32(1 / 3) + 1e-6).all()


@given(scenes(), st.lists(st.sampled_from([0.0, 2.0, 5.0, 50.0, 1e4]), min_size=1, max_size=9))
def test_classes_that_cannot_win_change_no_label(scene: Scene, behind: list[float]) -> None:
    scores, working, user, stride = scene
    shifted = np.concatenate([scores - np.float32(less) for less in behind])
    labels, probability = found((shifted, working, user, stride))
    all_scores = enlarged(shifted, working, user, stride)
    best, won = all_scores.max(0), np.take_along_axis(all_scores, labels[None].astype(np.intp), 0)[0]
    tolerance = NEAR_TIE * max(1.0, *behind)
    assert (won >= best - tolerance).all()
    assert np.allclose(probability, 1 / np.exp(all_scores - best).sum(0), atol=tolerance)


def test_a_class_that_is_nowhere_as_high_as_the_lowest_score_of_another_is_no_candidate() -> None:
    scores = np.random.default_rng(0).uniform(0, 1, (6, 8, 8)).astype(np.float32)
    scores[[0, 2, 5]] -= 2
    for block in blocks([scores], 8, (64, 64), (64, 64), 8):
        assert set(winners(block, Cancellation()).candidates) - {0} == {1, 3, 4}  # four are compared, as there are few graphs


def test_all_255_classes_can_win() -> None:
    scores = np.eye(255, dtype=np.float32)[:, None]
    labels, _ = found((scores, (255, 1), (255, 1), 1))
    assert (labels[0] == np.arange(255)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_leaves_pixels_without_a_probability(value: float) -> None:
    scores = np.zeros((3, 4, 4), np.float32)
    scores[1, 2, 2] = value
    assert not np.isfinite(found((scores, (32, 32), (32, 32), 8))[1]).all()


def test_no_band_of_scores_is_held_while_the_next_is_computed() -> None:
    bands: list[weakref.ref[NDArray[np.float32]]] = []

    def computed() -> NDArray[np.float32]:
        assert all(band() is None for band in bands)
        band = np.zeros((2, 5, 40), np.float32)
        bands.append(weakref.ref(band))
        return band

    for block in blocks((computed() for _ in range(6)), 30, (320, 240), (320, 240), 8):
        winners(block, Cancellation())
    assert len(bands) == 6


def test_of_many_classes_few_rows_of_scores_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "HELD_BYTES", 1 << 20)
    rows = (np.zeros((255, 1, 400), np.float32) for _ in range(300))
    held = [block.scores.shape[1:3] for block in blocks(rows, 300, (400, 300), (400, 300), 1)]
    assert max(pieces * rows for pieces, rows in held) * 400 * 255 * 4 < 3 << 20


def test_what_was_cancelled_is_not_computed() -> None:
    [block] = blocks([np.zeros((2, 3, 3), np.float32)], 3, (24, 24), (24, 24), 8)
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        winners(block, cancellation)
