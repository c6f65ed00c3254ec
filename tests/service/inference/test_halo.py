"""How far a network sees: the halo on its card, and the layers that say it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from service.inference.sessions.cancellation import Cancellation
from service.inference.tiling import parts
from service.inference.tiling.layers import Layers, UnknownLayer
from tests.bands import loaded
from tests.service.helpers.tiled import FILES, graph_with, with_weights_from
from tests.service_process import MODELS


@pytest.mark.parametrize("path", [p for p in FILES if ".int8." not in p.name], ids=lambda path: str(path.stem))
def test_the_halo_on_the_card_is_that_of_the_graph_and_no_more_than_its_rounding_larger(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_CUTS", 0)
    card = loaded(path).card
    layers = Layers.of(path.read_bytes(), "scores")
    [whole] = parts.cut(layers, card.stride, (1024, 1024), 1 << 30)
    assert card.halo is not None
    # The card's is of any one score, with its neighbour; the graph's here of a block that begins and ends at the stride.
    rounding = 2 * card.stride
    assert 0 <= card.halo.before - whole.part.halo.before <= rounding
    assert 0 <= card.halo.after - whole.part.halo.after <= rounding


@pytest.mark.parametrize("after", [False, True])
def test_a_changed_pixel_outside_the_halo_changes_nothing_and_one_inside_does(after: bool) -> None:
    model = loaded(MODELS / "animals-fcn8s-lite0.onnx")
    halo = model.card.halo
    assert halo is not None
    length, cell = 1536, 768  # the block of the scores that are watched begins here; one stride across is enough
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (1, length, 32, 3), dtype=np.uint8)

    def watched(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores, _ = model.run(pixels, Cancellation())
        return scores[:, cell // 8 : (cell + 32) // 8]

    def changed(rows: slice) -> NDArray[np.uint8]:
        other = image.copy()
        other[:, rows] = 255 - other[:, rows]
        return other

    outside = slice(cell + 32 + halo.after, None) if after else slice(0, cell - halo.before)
    inside = slice(cell + 32, cell + 32 + halo.after) if after else slice(cell - halo.before, cell)
    assert np.array_equal(watched(changed(outside)), watched(image))
    assert not np.allclose(watched(changed(inside)), watched(image), atol=1e-3)


def test_a_layer_that_sees_the_whole_image_is_not_known() -> None:
    assert Layers.of(graph_with("Relu"), "scores").scores.channels == 3
    with pytest.raises(UnknownLayer, match="GlobalAveragePool scores"):
        Layers.of(graph_with("GlobalAveragePool"), "scores")


@pytest.mark.parametrize(
    ("operator", "known", "change"),
    [
        ("Resize", {"mode": "linear"}, {"coordinate_transformation_mode": "asymmetric"}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, {"ceil_mode": 1}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, {"auto_pad": "SAME_UPPER"}),
        ("Conv", {"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_LOWER"}),
        ("Conv", {"pads": [1, 1, 1, 1]}, {"pads": [0, 0, 0, 0]}),
    ],
)
def test_a_layer_whose_places_do_not_follow_from_its_strides_is_not_known(
    operator: str, known: dict[str, object], change: dict[str, object]
) -> None:
    assert Layers.of(graph_with(operator, **known), "scores").scores.channels == 3
    with pytest.raises(UnknownLayer, match=f"{operator} scores"):
        Layers.of(graph_with(operator, **known | change), "scores")


@pytest.mark.parametrize("dilation", [1, 4])
def test_a_convolution_reaches_as_far_as_it_is_dilated(dilation: int) -> None:
    content = graph_with("Conv", dilations=[dilation] * 2, pads=[dilation] * 4)
    assert Layers.of(content, "scores").layers[-1].reach(0, 0) == (2 * dilation, 2 * dilation)


def test_weights_that_a_node_gives_count_as_those_of_the_file() -> None:
    content = graph_with("Conv", pads=[1, 1, 1, 1])
    weights = onnx.numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32))
    constant = with_weights_from(helper.make_node("Constant", [], ["weight"], value=weights), content)
    last = Layers.of(constant, "scores").layers[-1]
    assert (last.output.channels, last.operations) == (16, 16 * 3 * 9 / 4)  # at half the image's size


def test_a_convolution_with_computed_weights_is_not_known() -> None:
    computed = with_weights_from(helper.make_node("Transpose", ["scales"], ["weight"]), graph_with("Conv", pads=[1, 1, 1, 1]))
    with pytest.raises(UnknownLayer, match="Conv scores"):
        Layers.of(computed, "scores")


@pytest.mark.parametrize(("shape", "channels"), [((16, 1, 1), 16), ((1, 16, 1, 1), 16), ((1, 1), 3), ((1,), 3), ((), 3)])
def test_a_constant_may_add_channels(shape: tuple[int, ...], channels: int) -> None:
    model = onnx.load_from_string(graph_with("Add"))
    model.graph.node[-1].input.append("of channels")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), "of channels"))
    assert Layers.of(model.SerializeToString(), "scores").scores.channels == channels
