"""What int8 is calibrated on, and what it makes of a graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.tiny_network import DATASET
from tests.training.export.color_network import color_checkpoint
from tests.training.export.graphs import exported, noise, scorer, separable_fcn, small_paper_fcn, small_unet
from training.checkpoint import Checkpoint
from training.errors import InputError
from training.evaluate import torch_scorer
from training.export.card import describe
from training.export.int8 import calibration_images, to_int8


def test_calibration_images_have_the_size_that_the_service_gives_them(shapes: Path) -> None:
    card = describe(color_checkpoint(), "colors").model_copy(update={"long_side": 100, "stride": 32})
    images = calibration_images(DATASET.train(shapes), card)
    assert len(images) == 12
    assert {(image.shape, image.dtype.name) for image in images} == {((1, 96, 128, 3), "uint8")}
    assert all((image[:, 80:] == card.pad_value).all() and not (image[:, :80] == card.pad_value).all() for image in images)


def test_no_image_is_no_calibration(shapes: Path, tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("")
    with pytest.raises(InputError, match="training images"):
        calibration_images(DATASET.train(tmp_path), describe(color_checkpoint(), "colors"))


@pytest.fixture(scope="module")
def quantised(graph: onnx.ModelProto) -> onnx.ModelProto:
    return to_int8(graph, [noise(1, 64, 96), noise(1, 96, 64, seed=1)])


def test_the_same_images_give_the_same_file(graph: onnx.ModelProto, quantised: onnx.ModelProto) -> None:
    again = to_int8(graph, [noise(1, 64, 96), noise(1, 96, 64, seed=1)])
    assert again.SerializeToString(deterministic=True) == quantised.SerializeToString(deterministic=True)


def test_weights_are_int8_with_a_scale_for_each_channel_but_the_first_are_not(
    graph: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    [first, *others] = [node.input[1] for node in graph.graph.node if node.op_type == "Conv"]
    assert tensors[first].dtype == np.float32
    for name in others:
        weights = tensors[f"{name}_quantized"]
        assert weights.dtype == np.int8
        assert len(tensors[f"{name}_scale"]) == len(weights)


def test_sums_of_two_products_fit_16_bits_and_depthwise_weights_use_all_of_8() -> None:
    quantised = to_int8(exported(separable_fcn).graph, [noise(1, 64, 96)])
    weights = [numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer if len(tensor.dims) == 4]
    [depthwise, *dense] = sorted((kernel for kernel in weights if kernel.dtype == np.int8), key=lambda kernel: kernel.shape[1])
    assert 2 * 255 * max(int(np.abs(kernel.astype(np.int16)).max()) for kernel in dense) <= 32767
    assert depthwise.shape[1] == 1 and np.abs(depthwise.astype(np.int16)).max() == 127
    assert len(dense) == 2


def test_relu6_lies_inside_the_quantised_range(graph: onnx.ModelProto, quantised: onnx.ModelProto) -> None:
    clips = [sum(node.op_type == "Clip" for node in model.graph.node) for model in (graph, quantised)]
    assert clips == [5, 1]  # the one after the first convolution stays


def test_the_graph_that_was_given_stays_as_it_is(
    checkpoint: Checkpoint, graph: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    np.testing.assert_allclose(
        scorer(graph)(noise(1, 64, 96)), torch_scorer(checkpoint.network)(noise(1, 64, 96)), rtol=1e-4, atol=1e-4
    )


def test_transposed_convolutions_and_skips_of_a_unet_are_quantised_too() -> None:
    network = exported(small_unet).network
    graph = to_int8(exported(small_unet).graph, [noise(1, 36, 20)])
    expected, found = torch_scorer(network)(noise(2, 36, 20)), scorer(graph)(noise(2, 36, 20))
    assert np.abs(found - expected).max() < 0.1 * np.ptp(expected)
    made = {output for node in graph.graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    [enlarge, _] = [node for node in graph.graph.node if node.op_type == "ConvTranspose"]
    assert set(enlarge.input[:2]) <= made


def test_the_crops_and_enlargements_of_the_papers_network_survive() -> None:
    network = exported(small_paper_fcn).network
    graph = to_int8(exported(small_paper_fcn).graph, [noise(1, 96, 160)])
    expected, found = torch_scorer(network)(noise(2, 64, 96)), scorer(graph)(noise(2, 64, 96))
    assert np.abs(found - expected).max() < 0.1 * np.ptp(expected)
