"""Any network becomes a graph of any size."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.export.graphs import noise, scorer
from training.evaluate import torch_scorer
from training.export.graph import to_onnx
from training.export.parity import MAX_RELATIVE_DIFFERENCE
from training.networks import NETWORKS
from training.networks.normalisation import Normalisation


def settle(network: nn.Module) -> None:
    """Statistics as of a trained network: normalisations at their start would change nothing."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, std=0.1)


@pytest.mark.parametrize("architecture", ["unet", "unet-lite0"])
def test_a_unet_gives_the_same_scores_as_a_graph_at_odd_multiples_of_its_stride(architecture: str) -> None:
    network = NETWORKS[architecture](3, Normalisation(order="BGR")).eval()
    settle(network)
    exported = scorer(to_onnx(network))
    for images, rows, columns in ((1, 1, 1), (3, 1, 3), (1, 5, 3)):
        image = noise(images, rows * network.stride, columns * network.stride)
        expected, found = torch_scorer(network)(image), exported(image)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < MAX_RELATIVE_DIFFERENCE * np.abs(expected).max()
