"""A network that knows the made-up shapes by their colour, without training: good enough to lose something."""

from typing import cast

import torch
from torch import Tensor, nn

from tests.tiny_network import DATASET, PRESET
from training.checkpoint import Checkpoint
from training.networks.backbone import Backbone
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation

CAT, DOG, HORSE = 1, 3, 4  # red, blue and green
THRESHOLD = 0.4  # what a colour must stand out by from the other two, in units of the normalised image


class Colors(Backbone):
    """Mean red, green and blue of 2x2 pixels."""

    strides = (2,)
    channels = (3,)

    def __init__(self) -> None:
        super().__init__(Normalisation())
        self.mean = nn.Conv2d(3, 3, 2, 2)
        with torch.no_grad():
            self.mean.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2) / 4)
            nn.init.zeros_(cast(Tensor, self.mean.bias))

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.mean(self.normalise(image))]

    def layers_until(self, stride: int) -> list[nn.Module]:
        """The one layer."""
        return [self.mean] if stride >= 2 else []


def color_network(offset: float = 0.0) -> FCN:
    """Grey is background. `offset` is added to every score: it changes no label, but takes the precision of small numbers."""
    network = FCN(Colors(), len(DATASET.classes), 2)
    [score] = network.class_layers()
    assert isinstance(score, nn.Conv2d) and score.bias is not None
    with torch.no_grad():
        score.weight.zero_()
        score.bias.fill_(offset - 10)
        score.bias[0] = offset + THRESHOLD
        for class_id, channel in ((CAT, 0), (HORSE, 1), (DOG, 2)):
            score.weight[class_id] = -0.5
            score.weight[class_id, channel] = 1
            score.bias[class_id] = offset
    return network.eval()


def color_checkpoint(offset: float = 0.0) -> Checkpoint:
    """That network as if it had been trained."""
    return Checkpoint(PRESET, DATASET.card, "none", color_network(offset))
