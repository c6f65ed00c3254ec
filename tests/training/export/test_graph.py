"""Any network becomes a graph of any size."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.training.export.graphs import exported, noise, scorer, settle, small_unet
from training.evaluate import torch_scorer
from training.export.parity import MAX_RELATIVE_DIFFERENCE
from training.networks import NETWORKS
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation


def unet_on_lite() -> SegmentationNetwork:
    """The U-Net on EfficientNet-Lite0, whose colours come in Caffe's order."""
    network = NETWORKS["unet-lite0"](3, Normalisation(order="BGR")).eval()
    settle(network)
    return network


def plain_unet() -> SegmentationNetwork:
    """The U-Net in all its width."""
    network = NETWORKS["unet"](3, Normalisation()).eval()
    settle(network)
    return network


@pytest.mark.parametrize("build", [small_unet, plain_unet, unet_on_lite])
def test_a_unet_gives_the_same_scores_as_a_graph_at_odd_multiples_of_its_stride(
    build: Callable[[], SegmentationNetwork],
) -> None:
    network, scores = exported(build).network, scorer(exported(build).graph)
    for images, rows, columns in ((1, 1, 1), (3, 1, 3), (1, 5, 3)):
        image = noise(images, rows * network.stride, columns * network.stride)
        expected, found = torch_scorer(network)(image), scores(image)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < MAX_RELATIVE_DIFFERENCE * np.abs(expected).max()
