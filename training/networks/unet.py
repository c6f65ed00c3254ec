"""U-Net (Ronneberger, Fischer & Brox, 2015, arXiv:1505.04597) on any backbone."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.networks.backbone import Backbone
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution that keeps the size, with normalisation in place of the paper's bias."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ContractingPath(Backbone):
    """The paper's contracting path: two convolutions per scale, 2x2 max pooling between scales; `widths` are their channels."""

    def __init__(self, widths: tuple[int, ...], normalisation: Normalisation) -> None:
        super().__init__(normalisation)
        self.strides, self.channels = tuple(2**level for level in range(len(widths))), widths
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(inputs, outputs), convolution(outputs, outputs))
            for inputs, outputs in pairwise((3, *widths))
        )
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.normalise(image)
        features = [self.run(self.levels[0], x)]
        for level in self.levels[1:]:
            features.append(self.run(level, self.pool(features[-1])))
        return features

    def layers_until(self, stride: int) -> list[nn.Module]:
        """The scales whose output is at `stride` or finer."""
        return [level for level, its in zip(self.levels, self.strides, strict=True) if its <= stride]


class Expansion(nn.Module):
    """One step of the expanding path: a 2x2 up-convolution, concatenated with the finer features, then 3x3 convolutions."""

    def __init__(self, inputs: int, skip: int, outputs: int, convolutions: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        widths = (outputs + skip, *[outputs] * convolutions)
        self.merge = nn.Sequential(*(convolution(before, after) for before, after in pairwise(widths)))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        merged: Tensor = self.merge(torch.cat((self.enlarge(coarse), fine), 1))
        return merged


class UNet(SegmentationNetwork):
    """A backbone as contracting path, and an expanding path with `widths` channels, one per finer stride, coarse to fine."""

    def __init__(self, backbone: Backbone, classes: int, widths: tuple[int, ...], convolutions: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.stride = backbone.strides[-1]
        self.output_stride = backbone.strides[-1 - len(widths)]
        skips = backbone.channels[-2::-1][: len(widths)]
        inputs = (backbone.channels[-1], *widths[:-1])
        self.expansions = nn.ModuleList(
            Expansion(before, skip, after, convolutions) for before, skip, after in zip(inputs, skips, widths, strict=True)
        )
        self.dropout = nn.Dropout2d(0.1)
        self.score = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.expand(self.backbone(image)[::-1])

    def expand(self, features: Sequence[Tensor]) -> Tensor:
        """Scores at the output stride from the backbone's features, coarse to fine."""
        x, *finer = features
        for expansion, skip in zip(self.expansions, finer[: len(self.expansions)], strict=True):
            x = expansion(x, skip)
        scores: Tensor = self.score(self.dropout(x))
        return scores

    def class_layers(self) -> list[nn.Module]:
        """The last 1x1 convolution."""
        return [self.score]
