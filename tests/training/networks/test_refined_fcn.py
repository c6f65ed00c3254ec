"""An FCN whose scores a U-Net refines."""

import pytest
import torch
import torch.nn.functional as F

from tests.tiny_network import draw_weights
from training.networks import NETWORKS
from training.networks.fcn import fused_scores
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation

IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


@pytest.fixture
def network() -> SegmentationNetwork:
    """In evaluation mode, the FCN's score layers not silent."""
    torch.manual_seed(0)
    made = NETWORKS["refined-lite0"](5, Normalisation()).eval()
    draw_weights(made.coarse)  # type: ignore[arg-type]
    return made


def coarse_scores(network: SegmentationNetwork) -> torch.Tensor:
    """The FCN-8s alone, at the network's output stride."""
    fused = fused_scores(network.coarse, network.backbone(IMAGE)[::-1])  # type: ignore[arg-type]
    return F.interpolate(fused, scale_factor=2, mode="bilinear", align_corners=False)


@torch.inference_mode()
def test_it_begins_as_its_fcn_enlarged(network: SegmentationNetwork) -> None:
    scores = network(IMAGE)
    assert scores.shape == (2, 5, 16, 24)
    assert scores.std() > 0
    torch.testing.assert_close(scores, coarse_scores(network))


@torch.inference_mode()
def test_the_u_net_adds_to_the_fcns_scores(network: SegmentationNetwork) -> None:
    draw_weights(network.score)  # type: ignore[arg-type]
    added = network.expand(network.backbone(IMAGE)[::-1])  # type: ignore[operator]
    assert added.std() > 0
    torch.testing.assert_close(network(IMAGE), coarse_scores(network) + added)


def test_gradients_reach_both_score_layers_from_the_first_step(network: SegmentationNetwork) -> None:
    network.train()(IMAGE).square().sum().backward()
    for layer in network.class_layers():
        assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in layer.parameters())
