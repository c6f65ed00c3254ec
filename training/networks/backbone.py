"""What a segmentation head needs of a backbone."""

from abc import ABC, abstractmethod
from typing import Self

from torch import nn


class Backbone(nn.Module, ABC):
    """Features of an image at several strides, coarsest last.

    `forward` takes (N, 3, H, W) float normalised to (x - 127) / 128, H and W multiples of the last stride,
    and returns one (N, channels[i], H / strides[i], W / strides[i]) map per stride.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    _frozen: tuple[nn.Module, ...] = ()

    def freeze(self, stride: int) -> None:
        """Keep the weights and statistics of every layer whose output is at `stride` or finer as they are.

        Shallow filters are general (Girshick, 2015, arXiv:1504.08083, section 4.5), and they cost the most memory and time.
        """
        self._frozen = tuple(self.layers_until(stride))
        for layer in self._frozen:
            layer.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As of `nn.Module`, but frozen layers stay in evaluation mode."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    @abstractmethod
    def layers_until(self, stride: int) -> list[nn.Module]:
        """The layers whose output is at `stride` or finer, in order."""

    @abstractmethod
    def load_imagenet(self) -> int:
        """Load published ImageNet weights; returns the number of tensors copied."""
