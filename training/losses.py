"""The loss that training minimises: cross-entropy and, optionally, a soft Jaccard loss."""

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
    """Cross-entropy of the enlarged scores plus a weighted Jaccard loss; the losses of a batch's parts add up to its loss."""

    class_weights: Tensor | None  # (C,) float32, of the cross-entropy; None: all classes weigh the same
    jaccard: float = 0.0  # weight of the Jaccard loss beside the cross-entropy's 1

    def __call__(self, scores: Tensor, labels: Tensor, weight: Tensor, images: int) -> Tensor:
        """What one part of a batch adds to the whole batch's loss, computed at the labels' size.

        scores (N, C, h, w) float, labels (N, H, W) int64. The cross-entropy summed over pixels that are not VOID is
        divided by the scalar `weight`, the Jaccard loss summed over images by `images`, the number in the whole batch.
        """
        enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
        logarithms = F.log_softmax(enlarged, 1)
        loss = F.nll_loss(logarithms, labels, self.class_weights, ignore_index=VOID, reduction="sum") / weight
        return loss + self.jaccard * jaccard_loss(logarithms.exp(), labels).sum() / images if self.jaccard else loss

    def weight(self, labels: Tensor) -> Tensor:
        """Total weight of the pixels that are not VOID: the summed cross-entropy divided by this is a weighted mean."""
        if self.class_weights is None:
            return (labels != VOID).sum().float()
        pixels = torch.bincount(labels.flatten(), minlength=VOID + 1)[: len(self.class_weights)]
        return (pixels * self.class_weights).sum()

    def to(self, device: torch.device) -> Self:
        """This loss with its tensors on `device`."""
        return replace(self, class_weights=None if self.class_weights is None else self.class_weights.to(device))


def create_loss(config: Loss, reader: Reader, classes: int) -> SegmentationLoss:
    """The loss that `config` describes; for class weights, classes in every mask of the training split are counted first."""
    frequencies = None if config.class_weights == "none" else class_frequencies(reader, classes)
    return SegmentationLoss(None if frequencies is None else class_weights(config, frequencies), config.jaccard)


def jaccard_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(N,) one minus the soft Jaccard index of each image (Rahman & Wang, ISVC 2016, equations 2 to 5), 0..1.

    probabilities (N, C, H, W) float, labels (N, H, W) int64. Mean over the classes that an image holds; VOID pixels are
    left out, and an image of VOID pixels alone gives 0.
    """
    numbers = torch.arange(probabilities.shape[1], device=labels.device)
    truth = labels[:, None] == numbers[:, None, None]
    estimate = (probabilities * (labels != VOID)[:, None]).sum((2, 3))
    intersection = (probabilities * truth).sum((2, 3))
    pixels = truth.sum((2, 3))
    union = estimate + pixels - intersection
    held = pixels > 0
    missed = torch.where(held, 1 - intersection / union.clamp(min=1), 0)  # a class that is present has a union of at least 1
    return missed.sum(1) / held.sum(1).clamp(min=1)


def class_weights(config: Loss, frequencies: Frequencies) -> Tensor:
    """(C,) float32 class weights, from how often each class occurs in the training split.

    "median-frequency" (Eigen & Fergus, 2015, arXiv:1411.4734, section 6.3.2): median(f) / f, with f a class's pixels over all
    labelled pixels of the images that hold the class. "log" (Paszke et al., 2016, ENet, arXiv:1606.02147, section 5.2):
    1 / log(1.02 + p), with p a class's share of all labelled pixels. Raises InputError if no image holds one of the classes
    that "median-frequency" is to weight.
    """
    pixels = frequencies.pixels
    if config.class_weights == "log":
        return torch.from_numpy(1 / np.log(1.02 + pixels / pixels.sum())).float()
    if not pixels.all():
        raise InputError(f"no training image holds class {int(np.argmin(pixels))}: median-frequency weights need every class")
    frequency = pixels / frequencies.pixels_where_present
    return torch.from_numpy(np.median(frequency) / frequency).float()
