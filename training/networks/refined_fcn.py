"""An FCN whose scores a U-Net's expanding path refines."""

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.backbone import Backbone
from training.networks.fcn import fused_scores, score_layers
from training.networks.unet import UNet

_COARSE_STRIDE = 8  # of the FCN's scores


class RefinedFCN(UNet):
    """The sum of an FCN-8s and a U-Net on one backbone; the U-Net's scores start at zero and learn what the FCN misses.

    The FCN's linear score layers learn rare classes in a few epochs, but its borders are coarse. The U-Net's borders are
    fine, but its new layers need many epochs.
    """

    def __init__(self, backbone: Backbone, classes: int, widths: tuple[int, ...], convolutions: int) -> None:
        super().__init__(backbone, classes, widths, convolutions)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(cast(Tensor, self.score.bias))
        self.coarse = score_layers(backbone, _COARSE_STRIDE, classes)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(image)[::-1]
        coarse = fused_scores(self.coarse, features)
        factor = _COARSE_STRIDE // self.output_stride
        return F.interpolate(coarse, scale_factor=factor, mode="bilinear", align_corners=False) + self.expand(features)

    def class_layers(self) -> list[nn.Module]:
        """The FCN's score layers, coarse to fine, and the U-Net's."""
        return [*self.coarse, self.score]
