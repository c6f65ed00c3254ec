"""Graphs without a card, run as they are."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.contract import INPUT_NAME, OUTPUT_NAME
from tests.narrow_vgg16 import narrow_paper_fcn
from training.evaluate import Scorer
from training.export.graph import to_onnx
from training.networks.backbone import Backbone
from training.networks.fcn import FCN
from training.networks.fcn_paper import PaperFCN
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.unet import ContractingPath, UNet
from training.onnx_model import open_session


def scorer(graph: onnx.ModelProto) -> Scorer:
    """What ONNX Runtime, with all its optimisations, makes of a valid graph."""
    onnx.checker.check_model(graph, full_check=True)
    session = open_session(graph.SerializeToString(), "graph")

    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: image})[0]
        return result

    return scores


@dataclass(frozen=True)
class Exported:
    """A network and its graph; neither is to be changed."""

    network: SegmentationNetwork
    graph: onnx.ModelProto


@cache
def exported(build: Callable[[], SegmentationNetwork]) -> Exported:
    """The network that `build` returns, exported once for all tests."""
    network = build()
    return Exported(network, to_onnx(network))


def settle(network: nn.Module) -> None:
    """Statistics as of a trained network: normalisations at their start would change nothing."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, std=0.1)


def small_unet() -> UNet:
    """A U-Net of three scales, whose colours come in Caffe's order."""
    torch.manual_seed(0)
    network = UNet(ContractingPath((8, 12, 16), Normalisation(order="BGR")), 3, (12, 8), 2).eval()
    settle(network)
    return network


def small_paper_fcn() -> PaperFCN:
    """The paper's FCN-8s with few channels: fixed and learned enlargements, crops whose size only the input tells."""
    torch.manual_seed(0)
    network = narrow_paper_fcn(8)
    for layer in network.class_layers():
        if isinstance(layer, nn.Conv2d):  # they begin at zero
            nn.init.normal_(layer.weight, std=0.1)
    return network.eval()


class _Separable(Backbone):
    """A convolution, a depthwise and a pointwise one."""

    strides = (2,)
    channels = (12,)

    def __init__(self) -> None:
        super().__init__(Normalisation())
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), nn.Conv2d(8, 12, 1)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.layers(self.normalise(image))]

    def layers_until(self, stride: int) -> list[nn.Module]:
        """All or none."""
        return list(self.layers) if stride >= 2 else []


def separable_fcn() -> FCN:
    """A network of depthwise separable convolutions, as small as they come."""
    torch.manual_seed(0)
    network = FCN(_Separable(), 3, 2)
    [score] = network.class_layers()
    for parameter in score.parameters():  # zeros would be left out of the graph
        nn.init.normal_(parameter)
    return network.eval()


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """(*shape, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
