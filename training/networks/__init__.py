"""The networks by architecture name. A new network needs a module here and an entry in NETWORKS."""

from collections.abc import Callable

from training.networks.efficientnet_lite import EfficientNetLite
from training.networks.fcn import FCN
from training.networks.fcn_paper import PaperFCN
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.refined_fcn import RefinedFCN
from training.networks.unet import ContractingPath, UNet
from training.networks.vgg16 import LIGHT, PAPER, Vgg16

Builder = Callable[[int, Normalisation], SegmentationNetwork]  # takes the number of classes; weights are random

_EXPANDING = (128, 96, 64, 32)  # channels at the strides 16, 8, 4, 2


def _fcn_lite(variant: str, output_stride: int) -> Builder:
    return lambda classes, normalisation: FCN(EfficientNetLite(variant, normalisation), classes, output_stride)


def _fcn_vgg16(output_stride: int) -> Builder:
    # VGG-16 has its own dropout, after fc6 and fc7.
    return lambda classes, normalisation: FCN(Vgg16(LIGHT, normalisation), classes, output_stride, dropout=0.0)


def _fcn_paper(finest: int, at_once: bool = False) -> Builder:
    return lambda classes, normalisation: PaperFCN(Vgg16(PAPER, normalisation), classes, finest, at_once)


def _unet_lite(variant: str) -> Builder:
    return lambda classes, normalisation: UNet(EfficientNetLite(variant, normalisation, head=False), classes, _EXPANDING, 1)


def _unet(classes: int, normalisation: Normalisation) -> UNet:
    """U-Net with half the paper's channels: 7.8 million parameters."""
    return UNet(ContractingPath((32, 64, 128, 256, 512), normalisation), classes, (256, 128, 64, 32), 2)


def _refined_lite(variant: str) -> Builder:
    return lambda classes, normalisation: RefinedFCN(EfficientNetLite(variant, normalisation), classes, _EXPANDING[:-1], 1)


_LITE = ("lite0", "lite2")
NETWORKS: dict[str, Builder] = {
    **{f"fcn{stride}s-{variant}": _fcn_lite(variant, stride) for variant in _LITE for stride in (32, 16, 8)},
    **{f"fcn{stride}s-vgg16": _fcn_vgg16(stride) for stride in (32, 16, 8)},
    **{f"fcn{stride}s-vgg16-paper": _fcn_paper(stride) for stride in (32, 16, 8)},
    "fcn8s-vgg16-paper-atonce": _fcn_paper(8, at_once=True),
    **{f"unet-{variant}": _unet_lite(variant) for variant in _LITE},
    "unet": _unet,
    **{f"refined-{variant}": _refined_lite(variant) for variant in _LITE},
}

# Networks on the paper's VGG-16 -> the same on the light VGG-16: a different network that needs a fraction of the memory.
LIGHTER = {
    **{f"fcn{stride}s-vgg16-paper": f"fcn{stride}s-vgg16" for stride in (32, 16, 8)},
    "fcn8s-vgg16-paper-atonce": "fcn8s-vgg16",
}
