"""Segmentation metrics, defined once for trainer, exporter and service (numpy only).

One confusion matrix is summed over a whole split at each image's original size; pixels of the void
label are left out. Figures per image are never averaged. Accuracies, mean and frequency-weighted IoU are those of
Long, Shelhamer & Darrell (2015, arXiv:1411.4038, section 5).
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

VOID = 255  # label of pixels that are not counted

DEFINITION = (
    "One confusion matrix over the whole split, at each image's original size, void pixels left out; "
    "Jaccard per class |G and E| / |G or E|; mean IoU over classes present in ground truth or estimate."
)


@dataclass
class ConfusionMatrix:
    """Counts of pixels by (true class, estimated class)."""

    classes: int
    counts: NDArray[np.int64] = field(init=False)  # (C, C); rows are the ground truth

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.classes, self.classes), np.int64)

    @classmethod
    def from_counts(cls, counts: ArrayLike) -> Self:
        """A matrix from given counts: (C, C) integers from 0, rows are the ground truth. Raises ValueError for any other."""
        table = np.asarray(counts)
        square = table.ndim == 2 and table.shape[0] == table.shape[1]
        if not square or table.dtype.kind not in "iu" or (table < 0).any():
            raise ValueError("a confusion matrix is a square table of whole numbers, none below 0")
        matrix = cls(len(table))
        matrix.counts += table
        return matrix

    def update(self, truth: NDArray[np.uint8], estimate: NDArray[np.uint8]) -> None:
        """Add one image: two (H, W) uint8 label maps. Pixels whose truth is VOID are left out, whatever their estimate.

        Raises ValueError if the shapes differ, or if at any other pixel a label of either map is not a class id.
        """
        if truth.shape != estimate.shape:
            raise ValueError(f"label maps differ in shape: {truth.shape} and {estimate.shape}")
        # One histogram over the 16-bit code (truth, estimate) counts every pair in a single pass.
        codes = np.bincount((truth.astype(np.uint16) << 8 | estimate).ravel(), minlength=1 << 16).reshape(256, 256)
        valid = codes[: self.classes, : self.classes]
        if codes[:VOID].sum() != valid.sum():
            raise ValueError(f"a label is outside 0..{self.classes - 1} and not void")
        self.counts += valid

    @property
    def jaccard(self) -> NDArray[np.float64]:
        """(C,) Jaccard index (IoU) of each class in 0..1; NaN for a class in neither truth nor estimate."""
        hit = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return _ratio(hit, union)

    @property
    def mean_iou(self) -> float:
        """Mean of `jaccard` over the classes present; NaN if nothing was counted."""
        return _mean(self.jaccard)

    @property
    def weighted_iou(self) -> float:
        """Jaccard weighted by each class's share of the true pixels (frequency-weighted IoU)."""
        return float(_ratio((self.counts.sum(1) * np.nan_to_num(self.jaccard)).sum(), self.counts.sum()))

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that are labelled correctly."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean, over the classes present in the truth, of the share of their pixels that are labelled correctly."""
        return _mean(_ratio(np.diag(self.counts), self.counts.sum(1)))


def _mean(figures: NDArray[np.float64]) -> float:
    present = figures[~np.isnan(figures)]
    return float(present.mean()) if present.size else float("nan")


def _ratio(numerator: NDArray[np.generic] | np.generic, denominator: NDArray[np.generic] | np.generic) -> NDArray[np.float64]:
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    result = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom > 0)
    return result
