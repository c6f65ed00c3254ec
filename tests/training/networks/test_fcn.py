"""The heads of Long, Shelhamer & Darrell (2015)."""

import pytest
import torch
import torch.nn.functional as F

from tests.tiny_network import TinyBackbone, draw_weights, tiny_fcn
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation


@pytest.mark.parametrize("output_stride", [16, 8])
def test_a_finer_head_starts_as_the_32s_head_enlarged(output_stride: int) -> None:
    backbone = TinyBackbone().eval()
    torch.manual_seed(1)
    coarse = FCN(backbone, 5, 32).eval()
    torch.manual_seed(1)
    fine = FCN(backbone, 5, output_stride).eval()
    fine.scores[0].load_state_dict(coarse.scores[0].state_dict())
    image = torch.rand(2, 3, 96, 64) * 255
    expected = coarse(image)
    for _ in range(1 if output_stride == 16 else 2):
        expected = F.interpolate(expected, scale_factor=2, mode="bilinear", align_corners=False)
    assert expected.abs().max() > 0
    torch.testing.assert_close(fine(image), expected)


def test_fusing_adds_each_skip_to_the_enlarged_coarser_scores() -> None:
    network = tiny_fcn(3).eval()
    draw_weights(network.scores)
    image = torch.rand(1, 3, 64, 96) * 255
    fine, middle, coarse = network.backbone(image)
    score_32, score_16, score_8 = network.scores
    up = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image), up(up(score_32(coarse)) + score_16(middle)) + score_8(fine))


def test_gradients_reach_the_skips_from_the_first_step() -> None:
    network = tiny_fcn(3)
    network(torch.rand(2, 3, 64, 64) * 255).square().sum().backward()
    gradients = [weight.grad for weight in network.scores.parameters()]
    assert len(gradients) == 6
    assert all(gradient is not None and bool(gradient.any()) for gradient in gradients)


def test_a_stride_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="no features at stride 4"):
        FCN(TinyBackbone(), 3, 4)


@pytest.mark.parametrize("name", ["fcn32s-lite0", "fcn16s-lite0", "fcn8s-lite0"])
def test_scores_have_the_size_that_the_name_says(name: str) -> None:
    network = NETWORKS[name](4, Normalisation()).eval()
    stride = int(name.removeprefix("fcn").split("s")[0])
    assert (network.stride, network.output_stride) == (32, stride)
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 4, 64 // stride, 96 // stride)
