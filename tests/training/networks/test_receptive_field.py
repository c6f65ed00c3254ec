"""The halo, checked by changing pixels."""

import pytest
import torch
from torch import Tensor, nn

from service.contract import Halo
from tests.narrow_vgg16 import NARROW_LIGHT, NARROW_PAPER
from tests.tiny_network import TinyBackbone, draw_weights, tiny_fcn
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.networks.fcn_paper import PaperFCN
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.receptive_field import ReceptiveField, halo, receptive_field
from training.networks.unet import ContractingPath, UNet
from training.networks.vgg16 import Vgg16
from training.start import efficientnet_lite

BLACK_IS_ZERO = Normalisation(mean=(0.0, 0.0, 0.0))


def scores_of_rows(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """(cells,) sums of the scores of an image one stride wide."""
    with torch.inference_mode():
        scores: Tensor = network(image)[0].sum((0, 2))
    return scores


def with_lively_skips(network: FCN) -> FCN:
    draw_weights(network.scores)
    return network.double().eval()


@pytest.mark.parametrize("upside_down", [False, True], ids=["before", "after"])
def test_the_receptive_field_is_exactly_what_changed_pixels_change(upside_down: bool) -> None:
    torch.manual_seed(0)
    network = with_lively_skips(tiny_fcn(2))
    image = torch.rand(1, 3, 512, 32, dtype=torch.float64) * 255
    unchanged, reach = scores_of_rows(network, image), 0
    for row in range(256, 256 + network.stride):
        changed = image.clone()
        changed[:, :, row] = 255 - changed[:, :, row]
        cells = (scores_of_rows(network, changed) != unchanged).nonzero().flatten()
        farthest = row - (int(cells[0]) * 8 + 7) if upside_down else int(cells[-1]) * 8 - row
        reach = max(reach, farthest)
    field = receptive_field(network)
    assert field is not None
    assert reach == (field.after if upside_down else field.before)


def positive(network: SegmentationNetwork) -> SegmentationNetwork:
    """Nothing cancels in it and nothing is cut off: each pixel adds to every score that can see it."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network.double().eval()


@pytest.mark.parametrize(
    "network",
    [
        UNet(ContractingPath((2, 2, 3, 3, 4), BLACK_IS_ZERO), 2, (3, 3, 2, 2), 2),
        FCN(Vgg16(NARROW_LIGHT, BLACK_IS_ZERO), 2, 8),
        PaperFCN(Vgg16(NARROW_PAPER, BLACK_IS_ZERO), 2, 8),
    ],
    ids=["unet", "fcn8s-vgg16", "fcn8s-vgg16-paper"],
)
def test_the_receptive_field_is_exactly_where_a_white_row_in_black_shows(network: SegmentationNetwork) -> None:
    network = positive(network)
    stride, cell = network.stride, network.output_stride
    before = after = 0
    for row in range(320, 320 + stride):
        image = torch.zeros(1, 3, 640, stride, dtype=torch.float64)
        image[:, :, row] = 1
        touched = scores_of_rows(network, image).nonzero().flatten().tolist()
        before = max(before, touched[-1] * cell - row)
        after = max(after, row - (touched[0] * cell + cell - 1))
    assert receptive_field(network) == ReceptiveField(before, after)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("fcn8s-lite0", ReceptiveField(442, 473)),
        ("fcn8s-lite2", ReceptiveField(574, 605)),
        ("fcn8s-vgg16", ReceptiveField(170, 170)),
        ("unet", ReceptiveField(107, 107)),
    ],
)
def test_the_shipped_architectures_have_the_documented_fields(name: str, field: ReceptiveField) -> None:
    assert receptive_field(NETWORKS[name](1, Normalisation())) == field


def test_nothing_beyond_the_halo_of_lite0_changes_a_cell_or_its_neighbours() -> None:
    network = NETWORKS["fcn8s-lite0"](2, Normalisation()).eval()
    efficientnet_lite(network, None)
    for layer in network.class_layers():
        draw_weights(layer)
    margin = halo(network)
    assert margin is not None
    top, cells = 544, slice(544 // 8 - 1, 544 // 8 + 5)  # one stride of cells, and a neighbour on either side
    image = torch.rand(1, 3, 1120, 32) * 255
    far, near = image.clone(), image.clone()
    far[:, :, : top - margin.before] = 0
    far[:, :, top + 32 + margin.after :] = 0
    near[:, :, top - 64 : top] = 0
    expected = scores_of_rows(network, image)[cells]
    torch.testing.assert_close(scores_of_rows(network, far)[cells], expected, rtol=1e-6, atol=1e-6)
    assert (scores_of_rows(network, near)[cells] - expected).abs().min() > 1e-3


def test_the_shipped_lite0_has_the_documented_halo() -> None:
    assert halo(NETWORKS["fcn8s-lite0"](1, Normalisation())) == Halo(before=480, after=512)


def test_the_halo_adds_the_neighbour_cell_and_is_a_multiple_of_the_stride() -> None:
    network = tiny_fcn(2)
    field, margin = receptive_field(network), halo(network)
    assert field is not None
    assert margin is not None
    for pixels, extent in ((margin.before, field.before), (margin.after, field.after)):
        assert pixels % 32 == 0
        assert extent + 8 <= pixels < extent + 8 + 32


class GlobalContext(TinyBackbone):
    """Adds the mean over the whole image to the coarsest features."""

    def forward(self, x: Tensor) -> list[Tensor]:
        *fine, coarse = super().forward(x)
        return [*fine, coarse + coarse.mean((2, 3), keepdim=True)]


def test_a_network_that_sees_the_whole_image_has_no_halo() -> None:
    assert halo(FCN(GlobalContext(), 2, 8)) is None


class Pooled(TinyBackbone):
    """Holds a layer that sees an unknown part of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)


def test_a_layer_of_unknown_reach_is_refused() -> None:
    with pytest.raises(TypeError, match="AdaptiveAvgPool2d"):
        receptive_field(FCN(Pooled(), 2, 8))
