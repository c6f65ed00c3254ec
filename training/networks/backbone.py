"""What a segmentation head needs of a backbone."""

from abc import ABC, abstractmethod

from torch import nn


class Backbone(nn.Module, ABC):
    """Features of an image at several strides, coarsest last.

    `forward` takes (N, 3, H, W) float normalised to (x - 127) / 128, H and W multiples of the last stride,
    and returns one (N, channels[i], H / strides[i], W / strides[i]) map per stride.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]

    @abstractmethod
    def load_imagenet(self) -> int:
        """Load published ImageNet weights; returns the number of tensors copied."""
