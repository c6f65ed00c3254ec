"""Normalises pixel values to the range that a backbone's published weights were trained on."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalisation:
    """(value - mean) / deviation for each channel of an image in 0..255, channels in `order`."""

    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    deviation: tuple[float, float, float] = (128.0, 128.0, 128.0)
    order: Literal["RGB", "BGR"] = "RGB"


class Normalise(nn.Module):
    """Applies a `Normalisation` to (N, 3, H, W) float RGB in 0..255; it is part of the exported graph."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: Normalisation) -> None:
        super().__init__()
        self.config = config
        self.reverse = config.order == "BGR"
        # Not persistent: weights files hold what is learned; the preset holds these values.
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(config.deviation).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return ((image.flip(1) if self.reverse else image) - self.mean) / self.deviation
