"""The paper's own geometry: each score belongs to the pixel that it was computed around."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.contract import INPUT_NAME, OUTPUT_NAME
from tests.narrow_vgg16 import NARROW_PAPER, narrow_paper_fcn
from tests.tiny_network import draw_weights
from training.evaluate import torch_scorer
from training.export.graph import to_onnx
from training.networks.fcn_paper import PaperFCN
from training.networks.normalisation import Normalisation
from training.networks.vgg16 import Vgg16
from training.onnx_model import open_session

KINDS = [(32, False), (16, False), (8, False), (8, True)]
LAYERS = {32: ("score_fr",), 16: ("score_fr", "score_pool4"), 8: ("score_fr", "score_pool4", "score_pool3")}
SOURCES = [(finest, layer) for finest, layers in LAYERS.items() for layer in layers]
BORDER = 64  # nearer to the image's border, enlargement has no neighbour to lean on


class Coordinates(Vgg16):
    """Maps that hold, in every channel, the image row and column of each cell's centre: its kernel's middle."""

    def __init__(self) -> None:
        super().__init__(NARROW_PAPER, Normalisation())

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = []
        for feature, stride in zip(super().forward(image), self.strides, strict=True):
            # conv1_1 looks at row r - 99 in its row r, and a cell of a pooled map at the middle of its `stride` rows.
            first = (stride - 1) / 2 - 99 + (3 * 32 if stride == 32 else 0)  # fc6's middle is three cells further
            rows, columns = (first + stride * torch.arange(size, dtype=torch.float32) for size in feature.shape[2:])
            maps.append((rows[:, None] + 1000 * columns).expand(feature.shape).contiguous())
        return maps


def looking_at(network: PaperFCN, layer: nn.Conv2d) -> PaperFCN:
    """Its scores come from one layer alone: the mean of that layer's input."""
    nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    return network.eval()


@pytest.mark.parametrize(("finest", "layer"), SOURCES)
def test_every_source_of_scores_lies_on_the_pixels_it_was_computed_around(finest: int, layer: str) -> None:
    network = PaperFCN(Coordinates(), 2, finest)
    scores = looking_at(network, network.get_submodule(layer))(torch.zeros(1, 3, 224, 256))  # type: ignore[arg-type]
    rows, columns = torch.arange(224.0), torch.arange(256.0)
    inside = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    expected = (rows[:, None] + 1000 * columns)[inside[1:]].expand_as(scores[inside])
    torch.testing.assert_close(scores[inside], expected, rtol=0, atol=0.2)


@pytest.mark.parametrize(("finest", "at_once"), KINDS)
@pytest.mark.parametrize("size", [(32, 32), (96, 160), (375, 500)])
def test_scores_have_the_images_own_size(finest: int, at_once: bool, size: tuple[int, int]) -> None:
    network = narrow_paper_fcn(finest, at_once).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, *size)).shape == (1, 3, *size)
    assert (network.stride, network.output_stride) == (32, 1)


@pytest.mark.parametrize(("finest", "at_once"), KINDS)
def test_scores_begin_at_zero_and_every_score_layer_learns_from_the_first_step(finest: int, at_once: bool) -> None:
    network = narrow_paper_fcn(finest, at_once)
    scores = network(torch.rand(1, 3, 64, 64) * 255)
    assert not scores.any()
    loss = F.cross_entropy(scores, torch.zeros(1, 64, 64, dtype=torch.int64))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        if name.startswith("score"):
            assert parameter.grad is not None
            assert parameter.grad.any(), name


def test_the_staged_network_learns_its_steps_by_two_and_the_one_at_once_does_not() -> None:
    def enlargements(at_once: bool) -> set[str]:
        return {name for name, _ in narrow_paper_fcn(8, at_once).named_parameters() if "upscore" in name}

    assert enlargements(at_once=False) == {"upscore2.weight", "upscore_pool4.weight"}
    assert enlargements(at_once=True) == set()


def test_at_once_the_skips_are_scaled_down() -> None:
    staged, at_once = narrow_paper_fcn(8).eval(), narrow_paper_fcn(8, at_once=True).eval()
    at_once.load_state_dict(staged.state_dict(), strict=False)
    for layer, scale in (("score_pool4", 0.01), ("score_pool3", 0.0001)):
        scores = []
        for network in (staged, at_once):
            weight = network.get_submodule(layer).weight
            nn.init.ones_(weight)  # type: ignore[arg-type]
            scores.append(network(torch.full((1, 3, 64, 64), 200.0)))
            nn.init.zeros_(weight)  # type: ignore[arg-type]
        assert scores[0].any()
        torch.testing.assert_close(scores[1], scale * scores[0])


@pytest.mark.parametrize(("finest", "at_once"), [(16, False), (8, True)])
def test_the_exported_graph_agrees_at_sizes_it_was_not_traced_with(finest: int, at_once: bool) -> None:
    network = narrow_paper_fcn(finest, at_once).eval()
    for layer in network.class_layers():
        draw_weights(layer)
    session, reference = open_session(to_onnx(network).SerializeToString(), "here"), torch_scorer(network)
    for shape in ((1, 32, 32), (3, 96, 32), (1, 32, 224)):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        expected = reference(image)
        assert expected.shape == (shape[0], 3, *shape[1:])
        [found] = session.run([OUTPUT_NAME], {INPUT_NAME: image})
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
