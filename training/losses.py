"""What training lowers."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from service.metrics import VOID
from training.data.frequencies import Frequencies, class_frequencies
from training.data.reader import Reader
from training.errors import InputError
from training.presets.preset import Loss


@dataclass(frozen=True)
class SegmentationLoss:
    """Cross-entropy of enlarged scores, and a share of the Jaccard loss; the parts of a batch add up to the whole."""

    class_weights: Tensor | None  # (C,) float32, of the cross-entropy; null: all classes count the same
    jaccard: float = 0.0  # how much the Jaccard loss counts beside the cross-entropy

    def __call__(self, scores: Tensor, labels: Tensor, weight: Tensor, images: int) -> Tensor:
        """What a part of a batch adds to the loss of the whole, at the labels' size.

        scores (N, C, h, w) float, labels (N, H, W) int64; `weight`, a scalar, divides the cross-entropy's sum over pixels
        that are not VOID, and `images`, of the whole batch, the Jaccard loss's sum over images.
        """
        enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
        logarithms = F.log_softmax(enlarged, 1)
        loss = F.nll_loss(logarithms, labels, self.class_weights, ignore_index=VOID, reduction="sum") / weight
        return loss + self.jaccard * jaccard_loss(logarithms.exp(), labels).sum() / images if self.jaccard else loss

    def weight(self, labels: Tensor) -> Tensor:
        """What the pixels of a batch weigh together: the cross-entropy's sum divided by it is a mean."""
        if self.class_weights is None:
            return (labels != VOID).sum().float()
        pixels = torch.bincount(labels.flatten(), minlength=VOID + 1)[: len(self.class_weights)]
        return (pixels * self.class_weights).sum()

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, class_weights=None if self.class_weights is None else self.class_weights.to(device))


def create_loss(how: Loss, reader: Reader, classes: int) -> SegmentationLoss:
    """The loss of a preset; where it weights classes, every mask of the training split is counted first."""
    frequencies = None if how.class_weights == "none" else class_frequencies(reader, classes)
    return SegmentationLoss(None if frequencies is None else class_weights(how, frequencies), how.jaccard)


def jaccard_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(N,) one minus the soft Jaccard index of each image (Rahman & Wang, ISVC 2016, equations 2 to 5), 0..1.

    probabilities (N, C, H, W) float, labels (N, H, W) int64. Mean over the classes that an image holds; VOID pixels are
    left out, and an image of nothing else gives 0.
    """
    numbers = torch.arange(probabilities.shape[1], device=labels.device)
    truth = labels[:, None] == numbers[:, None, None]
    estimate = (probabilities * (labels != VOID)[:, None]).sum((2, 3))
    intersection = (probabilities * truth).sum((2, 3))
    pixels = truth.sum((2, 3))
    union = estimate + pixels - intersection
    held = pixels > 0
    missed = torch.where(held, 1 - intersection / union.clamp(min=1), 0)  # at least one pixel where there is a class
    return missed.sum(1) / held.sum(1).clamp(min=1)


def class_weights(how: Loss, frequencies: Frequencies) -> Tensor:
    """(C,) float32 weights of the classes, from how often each is seen in training.

    "median-frequency" (Eigen & Fergus, 2015, arXiv:1411.4734, section 6.3.2): median(f) / f, with f a class's pixels over all
    pixels of the images that hold it. "log" (Paszke et al., 2016, ENet, arXiv:1606.02147, section 5.2): 1 / log(1.02 + p),
    with p a class's share of all pixels. Raises InputError if "median-frequency" meets a class that no image holds.
    """
    pixels = frequencies.pixels
    if how.class_weights == "log":
        return torch.from_numpy(1 / np.log(1.02 + pixels / pixels.sum())).float()
    if not pixels.all():
        raise InputError(f"no training image holds class {int(np.argmin(pixels))}: median-frequency weights need every class")
    frequency = pixels / frequencies.pixels_where_present
    return torch.from_numpy(np.median(frequency) / frequency).float()
