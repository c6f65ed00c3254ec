"""The card's size and cost."""

import pytest
from torch import nn

from training.networks import NETWORKS
from training.networks.complexity import gmac, parameters
from training.networks.normalisation import Normalisation


def test_a_convolution_costs_its_kernel_for_every_output_pixel() -> None:
    layer = nn.Conv2d(3, 8, 5, stride=2, padding=2)
    assert parameters(layer) == 8 * 3 * 25 + 8
    assert gmac(layer) == pytest.approx(8 * 3 * 25 * 240 * 176 / 1e9)


def test_a_depthwise_convolution_costs_one_channel_each() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
    assert parameters(layer) == 27
    assert gmac(layer) == pytest.approx(27 * 480 * 352 / 1e9)


def test_lite0_has_the_published_parameters_less_its_classifier() -> None:
    network = NETWORKS["fcn32s-lite0"](7, Normalisation())
    published, classifier, score_layer = 4_652_008, 1280 * 1000 + 1000, 1280 * 7 + 7
    assert parameters(network) == published - classifier + score_layer
