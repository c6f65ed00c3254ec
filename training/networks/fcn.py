"""Fully convolutional networks with 32s, 16s and 8s heads (Long, Shelhamer & Darrell, 2015, arXiv:1411.4038)."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.backbone import Backbone
from training.networks.network import SegmentationNetwork


class FCN(SegmentationNetwork):
    """A backbone and one 1x1 score layer per stride, fused from coarse to fine by x2 bilinear steps."""

    def __init__(self, backbone: Backbone, classes: int, output_stride: int, dropout: float = 0.2) -> None:
        super().__init__()
        if output_stride not in backbone.strides:
            raise ValueError(f"the backbone has no features at stride {output_stride}, only at {backbone.strides}")
        self.backbone = backbone
        self.stride = backbone.strides[-1]
        self.output_stride = output_stride
        self.dropout = nn.Dropout2d(dropout)
        self.scores = score_layers(backbone, output_stride, classes)

    def forward(self, image: Tensor) -> Tensor:
        coarsest, *finer = self.backbone(image)[::-1]
        return fused_scores(self.scores, [self.dropout(coarsest), *finer])

    def class_layers(self) -> list[nn.Module]:
        """Every score layer, coarse to fine."""
        return list(self.scores)


def score_layers(backbone: Backbone, finest: int, classes: int) -> nn.ModuleList:
    """One 1x1 convolution for the features of each stride down to `finest`, coarse to fine."""
    used = [c for s, c in zip(backbone.strides, backbone.channels, strict=True) if s >= finest]
    layers = [nn.Conv2d(inputs, classes, 1) for inputs in reversed(used)]
    nn.init.normal_(layers[0].weight, std=0.01)
    for skip in layers[1:]:  # the finer network starts as the coarser one (section 4.2 of the paper)
        nn.init.zeros_(skip.weight)
    for layer in layers:
        nn.init.zeros_(cast(Tensor, layer.bias))
    return nn.ModuleList(layers)


def fused_scores(layers: nn.ModuleList, features: Sequence[Tensor]) -> Tensor:
    """Scores at the finest stride that has a layer, fused by x2 bilinear steps; `layers` and `features` run coarse to fine."""
    scores: Tensor = layers[0](features[0])
    for layer, feature in zip(layers[1:], features[1 : len(layers)], strict=True):
        scores = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False) + layer(feature)
    return scores
