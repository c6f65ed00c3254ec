"""FCN-32s, 16s and 8s on VGG-16 with the paper's own geometry (Long, Shelhamer & Darrell, 2015, arXiv:1411.4038).

The layers have the names in the authors' files (fcn.berkeleyvision.org). The wide padding of the input makes every map
larger than the image area that it stands for; the crops below align the maps again, exact to the pixel.
"""

from typing import cast

from torch import Tensor, nn

from training.networks.bilinear import BilinearEnlargement, learned_enlargement
from training.networks.network import SegmentationNetwork
from training.networks.vgg16 import Vgg16

# Cells cropped at the top and left: of pool4 and pool3 to match the scores, then of the enlarged scores to match the image.
# These are the "offsets" of Caffe's crop layers.
POOL4_OFFSET, POOL3_OFFSET = 5, 9
IMAGE_OFFSET = {32: 19, 16: 27, 8: 31}


class PaperFCN(SegmentationNetwork):
    """Scores at the image's own size, from fc7; `finest` 16 adds those from pool4, and `finest` 8 also those from pool3.

    By default, for training in stages as in the paper (section 4.2), the x2 enlargements start bilinear and are learned; the
    last enlargement is fixed. (The authors' released files fix all of them; the authors saw no difference.) With `at_once`,
    as the authors released it in 2016, all are fixed, and the skips are scaled down so that one learning rate suits all.
    """

    def __init__(self, backbone: Vgg16, classes: int, finest: int, at_once: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.stride, self.output_stride = 32, 1
        self.finest = finest
        _, _, pool3, pool4, fc7 = backbone.channels
        self.scale_pool4, self.scale_pool3 = (0.01, 0.0001) if at_once else (1.0, 1.0)
        self.score_fr = nn.Conv2d(fc7, classes, 1)
        layers = [self.score_fr]
        if finest <= 16:
            self.upscore2 = BilinearEnlargement(2) if at_once else learned_enlargement(classes, 2)
            self.score_pool4 = nn.Conv2d(pool4, classes, 1)
            layers.append(self.score_pool4)
        if finest <= 8:
            self.upscore_pool4 = BilinearEnlargement(2) if at_once else learned_enlargement(classes, 2)
            self.score_pool3 = nn.Conv2d(pool3, classes, 1)
            layers.append(self.score_pool3)
        self.upscore = BilinearEnlargement(finest)
        for layer in layers:  # all zero: random weights were no better in the paper (section 4.1)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, image: Tensor) -> Tensor:
        _, _, pool3, pool4, fc7 = self.backbone(image)
        scores: Tensor = self.score_fr(fc7)
        if self.finest <= 16:
            scores = self.upscore2(scores)
            scores = scores + crop(self.score_pool4(self.scale_pool4 * pool4), scores, POOL4_OFFSET)
        if self.finest <= 8:
            scores = self.upscore_pool4(scores)
            scores = scores + crop(self.score_pool3(self.scale_pool3 * pool3), scores, POOL3_OFFSET)
        return crop(self.upscore(scores), image, IMAGE_OFFSET[self.finest])

    def class_layers(self) -> list[nn.Module]:
        """All layers after the backbone."""
        return [module for name, module in self.named_children() if name != "backbone"]


def crop(x: Tensor, like: Tensor, offset: int) -> Tensor:
    """The part of (N, C, ., .) `x` that begins `offset` cells from its top left corner and is as large as `like`."""
    height, width = like.shape[2:]
    return x[:, :, offset : offset + height, offset : offset + width]
