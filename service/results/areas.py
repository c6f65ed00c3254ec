"""Labels, areas and confidence of each class, from the network's scores."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.inference.scores import Scores
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.errors import RunFailed
from service.results.blocks import blocks
from service.results.winners import Winners, winners

Value = TypeVar("Value", bound=np.generic)
COUNTED_PIXELS = 1 << 18  # pixels that are counted at once


@dataclass(frozen=True)
class Segmentation:
    """One image, segmented at its own size."""

    labels: NDArray[np.uint8]  # (H, W) class ids
    pixels: tuple[int, ...]  # per class; they sum to H x W
    confidence: tuple[float | None, ...]  # per class: mean softmax probability, 0..1, over the pixels it won; null if none

    @property
    def fractions(self) -> tuple[float, ...]:
        """Share of the image per class, 0..1."""
        return tuple(count / self.labels.size for count in self.pixels)


@np.errstate(invalid="ignore", over="ignore")  # scores that are not finite are reported below
def segment(
    scores: Scores, classes: int, working: tuple[int, int], user: tuple[int, int], cancellation: Cancellation
) -> Segmentation:
    """Scores of `classes` classes for an image at its working size -> its segmentation at the user's (width, height).

    Raises Cancelled if the work was cancelled, RunFailed if a score is not finite, and whatever the scores raise as they are
    computed.
    """
    labels = np.empty((user[1], user[0]), np.uint8)
    lines = labels.T if scores.by_columns else labels
    if scores.by_columns:
        working, user = working[::-1], user[::-1]
    pixels = np.zeros(classes, np.int64)
    probability_sums = np.zeros(classes, np.float64)  # of the pixels that each class won
    found: list[Winners] = []  # not yet counted

    def count() -> None:
        won, probability = _flat([block.labels for block in found]), _flat([block.probability for block in found])
        candidates = {class_id for block in found for class_id in block.candidates.tolist()}
        found.clear()
        for class_id in candidates:  # faster than bincount, which widens its input to 64 bits
            of_class = won == class_id
            number = np.count_nonzero(of_class)
            pixels[class_id] += number
            if number:
                probability_sums[class_id] += np.dot(of_class.astype(np.float32), probability)

    for block in blocks(scores.bands, scores.length, working, user, scores.stride):
        found.append(winners(block, cancellation))
        lines[block.slices] = found[-1].labels
        if sum(one.labels.size for one in found) >= COUNTED_PIXELS:
            count()
    if found:
        count()
    if not np.isfinite(probability_sums).all():  # a non-finite score leaves pixels near it without a finite one
        raise RunFailed("the model gives scores that are not finite")
    confidence = tuple(float(c / n) if n else None for c, n in zip(probability_sums, pixels, strict=True))
    return Segmentation(labels, tuple(int(n) for n in pixels), confidence)


def _flat(arrays: list[NDArray[Value]]) -> NDArray[Value]:
    """All values in one dimension; a single array is not copied."""
    return np.concatenate([array.ravel() for array in arrays]) if len(arrays) > 1 else arrays[0].ravel()
