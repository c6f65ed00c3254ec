"""The gate lets rounding through, and nothing else."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from training.export.parity import ParityError, require_parity

Array = NDArray[np.float32]


def scores_of(image: NDArray[np.uint8]) -> Array:
    """Three classes: the mean of each band over 8x8 pixels."""
    n, height, width, bands = image.shape
    blocks = image.reshape(n, height // 8, 8, width // 8, 8, bands).astype(np.float32)
    return np.ascontiguousarray(blocks.mean((2, 4)).transpose(0, 3, 1, 2))


def rounded(image: NDArray[np.uint8]) -> Array:
    return scores_of(image) * np.float32(1 + 1e-6)


def slightly_off(image: NDArray[np.uint8]) -> Array:
    scores = scores_of(image)
    scores[..., 0, 0] += 3e-4 * scores.max()
    return scores


def moved(image: NDArray[np.uint8]) -> Array:
    return np.roll(scores_of(image), 1, axis=3)


def broken(image: NDArray[np.uint8]) -> Array:
    scores = scores_of(image)
    scores[0, 0, 0, 0] = np.nan
    return scores


def broken_in_the_second_image(image: NDArray[np.uint8]) -> Array:
    scores = scores_of(image)
    scores[1:] = scores[:1]
    return scores


def too_small(image: NDArray[np.uint8]) -> Array:
    return scores_of(image)[..., 1:]


def test_rounding_passes_and_is_measured() -> None:
    parity = require_parity(scores_of, rounded, 32, 8)
    assert 1e-7 < parity.relative_difference < 1e-5
    assert parity.label_agreement > 0.9999


@pytest.mark.parametrize("exported", [slightly_off, moved, broken, broken_in_the_second_image, too_small])
def test_anything_more_is_refused(exported: object) -> None:
    with pytest.raises(ParityError):
        require_parity(scores_of, exported, 32, 8)  # type: ignore[arg-type]


def test_labels_that_change_without_a_large_difference_are_refused() -> None:
    """Two classes with nearly equal scores: tiny differences decide."""

    def tied(image: NDArray[np.uint8]) -> Array:
        scores = scores_of(image)[:, :2] + 1000
        scores[:, 1] = scores[:, 0]
        return scores

    def tipped(image: NDArray[np.uint8]) -> Array:
        scores = tied(image)
        scores[:, 1] += 0.01
        return scores

    with pytest.raises(ParityError, match=r"agreement 0\.0000%"):
        require_parity(tied, tipped, 32, 8)


def test_a_score_that_is_no_number_is_refused_even_if_it_changes_no_label_and_comes_late() -> None:
    def of_one_class(image: NDArray[np.uint8]) -> Array:
        return scores_of(image)[:, :1]

    def broken_later(image: NDArray[np.uint8]) -> Array:
        return (broken if len(image) > 1 else scores_of)(image)[:, :1]

    with pytest.raises(ParityError, match=r"nan \(relative\), label agreement 100\.0000%"):
        require_parity(of_one_class, broken_later, 32, 8)


@pytest.mark.parametrize(
    "is_wrong_at",
    [
        lambda images, height, width: height == width == 32,  # the smallest input
        lambda images, height, width: images == 1 and height < width,
        lambda images, height, width: images > 1 and height < width,
        lambda images, height, width: height > width,
        lambda images, height, width: height // 32 % 2 and height > 32,
        lambda images, height, width: height >= 256,
    ],
    ids=["smallest", "wide", "wide batch", "tall", "odd", "large"],
)
def test_a_fault_at_some_sizes_alone_is_found(is_wrong_at: Callable[[int, int, int], bool]) -> None:
    def exported(image: NDArray[np.uint8]) -> Array:
        images, height, width, _ = image.shape
        return slightly_off(image) if is_wrong_at(images, height, width) else scores_of(image)

    with pytest.raises(ParityError):
        require_parity(scores_of, exported, 32, 8)
