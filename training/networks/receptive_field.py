"""Measures which input pixels can change a score, by the network's gradients, for the card's `halo`."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from service.contract import Halo
from service.geometry import padded_size
from training.networks.bilinear import BilinearEnlargement
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalise

FIRST_LENGTH, LAST_LENGTH = 1024, 8192  # pixels of the probe image's long side: doubled until it holds the whole field

_POINTWISE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Dropout, nn.Dropout2d, Normalise)  # act on each pixel by itself


@dataclass(frozen=True)
class ReceptiveField:
    """How many input pixels before and after an output cell's own block, along each axis, can change the cell's scores."""

    before: int
    after: int


def halo(network: SegmentationNetwork) -> Halo | None:
    """The margin that tiling must add around a tile; None if the receptive field is unbounded. It is the receptive field
    and the neighbouring cell that the final bilinear enlargement reads, rounded up to the network's stride.
    """
    field = receptive_field(network)
    if field is None:
        return None
    before, after = padded_size(field.before + network.output_stride, field.after + network.output_stride, network.stride)
    return Halo(before=before, after=after)


def receptive_field(network: SegmentationNetwork) -> ReceptiveField | None:
    """The widest field over both axes and over every position of a cell within a stride; None if it exceeds LAST_LENGTH.

    A copy of the network is made linear, with one channel and positive weights, so that no gradient can cancel: an
    input pixel matters exactly where its gradient is not zero. Raises TypeError for a layer it cannot make linear.
    """
    probe = _linear_copy(network)
    length = FIRST_LENGTH
    while length <= LAST_LENGTH:
        fields = [_along(probe, length, vertical) for vertical in (True, False)]
        found = [field for field in fields if field is not None]
        if len(found) == len(fields):
            return ReceptiveField(max(field.before for field in found), max(field.after for field in found))
        length *= 2
    return None


def _along(network: SegmentationNetwork, length: int, vertical: bool) -> ReceptiveField | None:
    """The field along one axis, on an image one stride wide across it; None if it reaches the image's border."""
    across = network.stride  # a kernel's middle always lies in it, so the other axis can be this narrow
    height, width = (length, across) if vertical else (across, length)
    image = torch.zeros(1, 3, height, width, dtype=torch.float64, requires_grad=True)
    scores: Tensor = network(image).sum((0, 1)).sum(1 if vertical else 0)  # one per cell along the axis
    middle = length // 2 // network.stride * (network.stride // network.output_stride)  # the first cell of a stride
    before = after = 0
    for cell in range(middle, middle + network.stride // network.output_stride):
        [gradient] = torch.autograd.grad(scores[cell], image, retain_graph=True)
        touched = gradient.sum((0, 1, 3 if vertical else 2)).nonzero()
        first, last = int(touched[0]), int(touched[-1])
        if first == 0 or last == length - 1:
            return None
        before = max(before, cell * network.output_stride - first)
        after = max(after, last - ((cell + 1) * network.output_stride - 1))
    return ReceptiveField(before, after)


class _ChannelMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


def _linear_copy(network: SegmentationNetwork) -> SegmentationNetwork:
    probe = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    _make_linear(probe)
    return probe.double()


def _make_linear(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, _POINTWISE):
            setattr(module, name, nn.Identity())
        elif isinstance(child, (nn.Conv2d, nn.ConvTranspose2d)):
            setattr(module, name, nn.Sequential(_ChannelMean(), _one_channel(child)))
        elif isinstance(child, nn.MaxPool2d):  # max pooling passes the gradient to the largest value alone
            setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
        elif any(True for _ in child.children()):
            _make_linear(child)
        elif not isinstance(child, (nn.ZeroPad2d, BilinearEnlargement, nn.Sequential, nn.Identity)):
            raise TypeError(f"the receptive field of a {type(child).__name__} is not known")


def _one_channel(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The same kernel size and stride with one channel; the kernel averages, so that nothing over- or underflows."""
    weight = torch.full((1, 1, *layer.kernel_size), 1 / math.prod(layer.kernel_size), dtype=torch.float64)
    layer.weight, layer.bias, layer.groups = nn.Parameter(weight, requires_grad=False), None, 1
    return layer
