"""The size and the cost of a network, as the model card states them."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from service.contract import GMAC_SIZE

WIDTH, HEIGHT = GMAC_SIZE  # of the image for which cards state the cost


def parameters(network: nn.Module) -> int:
    """Number of parameters; the running statistics of batch normalisation do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def gmac(network: nn.Module) -> float:
    """10^9 multiply-accumulates of the convolutions and matrix products for one 480x352 image."""
    shapes_only = copy.deepcopy(network).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shapes_only(torch.empty(1, 3, HEIGHT, WIDTH, device="meta"))
    return counter.get_total_flops() / 2e9
