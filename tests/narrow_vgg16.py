"""VGG-16 with few channels: every layer and every margin of the real one, in a hundredth of the time."""

from dataclasses import replace

from training.networks.fcn_paper import PaperFCN
from training.networks.normalisation import Normalisation
from training.networks.vgg16 import LIGHT, PAPER, Geometry, Vgg16

CHANNELS = (2, 3, 4, 5, 6)
NARROW_LIGHT = replace(LIGHT, channels=CHANNELS, fc_channels=7)
NARROW_PAPER = replace(PAPER, channels=CHANNELS, fc_channels=7)


def narrow_vgg16(geometry: Geometry = NARROW_LIGHT) -> Vgg16:
    """The backbone, randomly initialised."""
    return Vgg16(geometry, Normalisation())


def narrow_paper_fcn(finest: int, at_once: bool = False, classes: int = 3) -> PaperFCN:
    """The paper's network, randomly initialised but for its score layers, which are zero."""
    return PaperFCN(narrow_vgg16(NARROW_PAPER), classes, finest, at_once)
