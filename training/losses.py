"""What training lowers."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from service.metrics import VOID
from training.data.frequencies import Frequencies
from training.errors import InputError
from training.presets.preset import Loss


@dataclass(frozen=True)
class PixelLoss:
    """Cross-entropy of enlarged scores, summed so that the parts of a batch add up to the whole."""

    class_weights: Tensor | None  # (C,) float32; null: all classes count the same

    def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Weighted sum over the pixels that are not VOID, at the labels' size.

        scores (N, C, h, w) float, labels (N, H, W) int64.
        """
        enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(enlarged, labels, self.class_weights, ignore_index=VOID, reduction="sum")

    def weight(self, labels: Tensor) -> Tensor:
        """What the same pixels weigh together: the sum divided by it is a mean."""
        if self.class_weights is None:
            return (labels != VOID).sum().float()
        pixels = torch.bincount(labels.flatten(), minlength=VOID + 1)[: len(self.class_weights)]
        return (pixels * self.class_weights).sum()

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, class_weights=None if self.class_weights is None else self.class_weights.to(device))


def class_weights(how: Loss, frequencies: Frequencies) -> Tensor | None:
    """(C,) float32 weights of the classes, from how often each is seen in training; None where all count the same.

    "median-frequency" (Eigen & Fergus, 2015, arXiv:1411.4734, section 6.3.2): median(f) / f, with f a class's pixels over all
    pixels of the images that hold it. "log" (Paszke et al., 2016, ENet, arXiv:1606.02147, section 5.2): 1 / log(1.02 + p),
    with p a class's share of all pixels. Raises InputError if "median-frequency" meets a class that no image holds.
    """
    if how.class_weights == "none":
        return None
    pixels = frequencies.pixels
    if how.class_weights == "log":
        return torch.from_numpy(1 / np.log(1.02 + pixels / pixels.sum())).float()
    if not pixels.all():
        raise InputError(f"no training image holds class {int(np.argmin(pixels))}: median-frequency weights need every class")
    frequency = pixels / frequencies.pixels_where_present
    return torch.from_numpy(np.median(frequency) / frequency).float()
