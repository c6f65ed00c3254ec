"""How well outlines are followed: the boundary F-score, beside the areas that `service.metrics` measures."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from service.metrics import VOID

TOLERANCE = 0.0075  # of the image's diagonal: the paper's value

BOUNDARY_DEFINITION = (
    "Boundary F-score (Csurka, Larlus & Perronnin, BMVC 2013), at each image's original size: harmonic mean of the shares of "
    f"a class's estimated and true boundary pixels that lie within {TOLERANCE:.2%} of the image's diagonal of one of the other "
    "kind. A boundary pixel has a pixel of another class, or a void one, to its left, its right, above or below; void pixels "
    "are made void in the estimate too. Mean over the images whose truth has a boundary of the class, then over the classes."
)


@dataclass
class BoundaryScore:
    """Sums of each class's boundary F-score over the images in which the class has a true boundary."""

    classes: int
    sums: NDArray[np.float64] = field(init=False)  # (C,)
    images: NDArray[np.int64] = field(init=False)  # (C,) images counted

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.classes)
        self.images = np.zeros(self.classes, np.int64)

    def update(self, truth: NDArray[np.uint8], estimate: NDArray[np.uint8]) -> None:
        """Add one image: two (H, W) uint8 label maps; the truth may hold VOID. Raises ValueError if the shapes differ."""
        if truth.shape != estimate.shape:
            raise ValueError(f"label maps differ in shape: {truth.shape} and {estimate.shape}")
        judged = np.where(truth == VOID, np.uint8(VOID), estimate)
        reach = TOLERANCE * float(np.hypot(*truth.shape))
        for label in range(self.classes):
            true = boundary(truth == label)
            if true.any():
                self.sums[label] += f_score(true, boundary(judged == label), reach)
                self.images[label] += 1

    @property
    def per_class(self) -> NDArray[np.float64]:
        """(C,) mean over images of each class's score in 0..1; NaN for a class without a true boundary in any image."""
        result = np.full(self.classes, np.nan)
        np.divide(self.sums, self.images, out=result, where=self.images > 0)
        return result

    @property
    def mean(self) -> float:
        """Mean of `per_class` over the classes that have one; NaN if none does."""
        return float(self.per_class[self.images > 0].mean()) if self.images.any() else float("nan")


def stated(score: float) -> float | None:
    """A score as JSON has it: null where there is none."""
    return None if math.isnan(score) else score


def boundary(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels of `region` with a 4-neighbour outside it. The image's own edge is no boundary."""
    edge = np.zeros_like(region)
    edge[1:] |= region[1:] & ~region[:-1]
    edge[:-1] |= region[:-1] & ~region[1:]
    edge[:, 1:] |= region[:, 1:] & ~region[:, :-1]
    edge[:, :-1] |= region[:, :-1] & ~region[:, 1:]
    return edge


def f_score(truth: NDArray[np.bool_], estimate: NDArray[np.bool_], reach: float) -> float:
    """Harmonic mean of precision and recall of (H, W) boundaries within `reach` pixels; 0 if `estimate` is empty.

    `truth` holds a boundary pixel.
    """
    if not estimate.any():
        return 0.0
    precision = float((distance_transform_edt(~truth)[estimate] <= reach).mean())
    recall = float((distance_transform_edt(~estimate)[truth] <= reach).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
