"""The interface that a segmentation network needs of its backbone."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn

from training.networks.normalisation import Normalisation, Normalise
from training.networks.recompute import recomputed


class Backbone(nn.Module, ABC):
    """Features of an image at several strides, finest first.

    `forward` takes (N, 3, H, W) float RGB in 0..255, H and W multiples of the last stride, and returns one
    (N, channels[i], H / strides[i], W / strides[i]) map per stride.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalise = Normalise(normalisation)
        self.recompute = False  # blocks keep only their inputs for the backward pass: less memory, more time
        self._frozen: tuple[nn.Module, ...] = ()

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]: ...

    @abstractmethod
    def layers_until(self, stride: int) -> Iterable[nn.Module]:
        """The layers whose output is at `stride` or finer, in order."""

    def run(self, block: nn.Module, x: Tensor) -> Tensor:
        """`block(x)`; with `recompute`, the block's activations are computed again in the backward pass instead of kept."""
        if self.recompute and self.training and torch.is_grad_enabled():
            return recomputed(block, x)
        result: Tensor = block(x)
        return result

    def freeze(self, stride: int) -> None:
        """Freeze the weights and statistics of every layer whose output is at `stride` or finer.

        Shallow filters are general (Girshick, 2015, arXiv:1504.08083, section 4.5), and cost the most memory and time.
        """
        self._frozen = tuple(self.layers_until(stride))
        for layer in self._frozen:
            layer.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but frozen layers stay in evaluation mode."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self
