"""Enlargement by transposed convolution with bilinear kernels (Long, Shelhamer & Darrell, 2015, section 3.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bilinear_kernel(factor: int) -> Tensor:
    """(2 factor, 2 factor) float32: weights of one pixel in the pixels around it, for enlargement by an even `factor`."""
    offsets = torch.arange(2 * factor) - (factor - 0.5)
    line = 1 - offsets.abs() / factor
    return line[:, None] * line


class BilinearEnlargement(nn.Module):
    """Fixed, channel by channel: (N, C, H, W) -> (N, C, factor (H + 1), factor (W + 1)), with half a cell more on each side."""

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        # Not persistent: weights files hold only what is learned.
        self.register_buffer("kernel", bilinear_kernel(factor)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv_transpose2d(x, self.kernel.expand(channels, -1, -1, -1), stride=self.factor, groups=channels)


def learned_enlargement(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as `BilinearEnlargement` and can learn, also to mix channels."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, bias=False)
    nn.init.zeros_(layer.weight)
    for channel in range(channels):
        layer.weight.data[channel, channel] = bilinear_kernel(factor)
    return layer
