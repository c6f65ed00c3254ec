"""Any network becomes a graph of any size."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.training.export.graphs import exported, noise, scorer, settle, small_unet
from training.evaluate import torch_scorer
from training.export.parity import MAX_RELATIVE_DIFFERENCE
from training.networks import efficientnet_lite
from training.networks.efficientnet_lite import EfficientNetLite
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.unet import UNet


def shallow_unet_lite() -> SegmentationNetwork:
    """A U-Net of two steps on EfficientNet-Lite0 with one block a stage; its colours come in Caffe's order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(efficientnet_lite.VARIANTS, "lite0", replace(efficientnet_lite.VARIANTS["lite0"], depth=0.1))
        backbone = EfficientNetLite("lite0", Normalisation(order="BGR"), head=False)
    network = UNet(backbone, 3, (24, 16), 1).eval()
    settle(network)
    return network


@pytest.mark.parametrize("build", [small_unet, shallow_unet_lite])
def test_a_unet_gives_the_same_scores_as_a_graph_at_odd_multiples_of_its_stride(
    build: Callable[[], SegmentationNetwork],
) -> None:
    network, scores = exported(build).network, scorer(exported(build).graph)
    for images, rows, columns in ((1, 1, 1), (3, 1, 3), (1, 5, 3)):
        image = noise(images, rows * network.stride, columns * network.stride)
        expected, found = torch_scorer(network)(image), scores(image)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < MAX_RELATIVE_DIFFERENCE * np.abs(expected).max()
