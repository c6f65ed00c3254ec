"""The boundary F-score: how closely estimated outlines follow the true ones. `service.metrics` measures areas."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from service.metrics import VOID

TOLERANCE = 0.0075  # share of the image's diagonal, as in the paper
STRIP = 1 << 20  # pixels whose distances are in memory at a time

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
        """Mean of `per_class` over the classes that have a score; NaN if none has one."""
        return float(self.per_class[self.images > 0].mean()) if self.images.any() else float("nan")


def boundary(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels of `region` with a 4-neighbour outside it. The image's border is not a boundary."""
    edge = np.zeros_like(region)
    edge[1:] |= region[1:] & ~region[:-1]
    edge[:-1] |= region[:-1] & ~region[1:]
    edge[:, 1:] |= region[:, 1:] & ~region[:, :-1]
    edge[:, :-1] |= region[:, :-1] & ~region[:, 1:]
    return edge


def f_score(truth: NDArray[np.bool_], estimate: NDArray[np.bool_], reach: float) -> float:
    """Harmonic mean of the precision and recall of (H, W) boundaries; 0 if `estimate` is empty.

    A boundary pixel is matched if the other boundary has a pixel within `reach` pixels. `truth` must not be empty.
    """
    if not estimate.any():
        return 0.0
    precision = _matched(estimate, truth, reach) / int(estimate.sum())
    recall = _matched(truth, estimate, reach) / int(truth.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _matched(pixels: NDArray[np.bool_], others: NDArray[np.bool_], reach: float) -> int:
    """How many of the (H, W) boundary `pixels` have one of `others` within `reach`.

    Strip by strip, each with all `others` in reach of it: the distances of a whole large photo take some gigabytes.
    """
    height, width = pixels.shape
    rows, margin, matched = -(-STRIP // width), math.ceil(reach), 0
    for top in range(0, height, rows):
        above = min(top, margin)
        near = others[top - above : top + rows + margin]
        if near.any():  # if not, scipy measures the distance to a place that does not exist
            distances = distance_transform_edt(~near)[above : above + rows]
            matched += int((distances[pixels[top : top + rows]] <= reach).sum())
    return matched
