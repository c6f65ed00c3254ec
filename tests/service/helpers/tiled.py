"""What is run in tiles: photos of any size, the shipped models, and graphs unlike them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from service.contract import INPUT_NAME
from tests import photos
from tests.service_process import MODELS

FILES = sorted(path for path in MODELS.rglob("*.onnx") if ".fp16." not in path.name)
MEGAPIXEL = 10**6


def large_photo(width: int, height: int) -> Image.Image:
    """A cup of coffee, so large."""
    return photos.photo("coffee.png").resize((width, height), Image.Resampling.BICUBIC)


def many_classes(are_layers_known: bool) -> bytes:
    """A network of one convolution to 150 classes at the image's own stride."""
    ways = ("Transpose", "Cast") if are_layers_known else ("Cast", "Transpose")  # the image's channels are known to come first
    attributes: dict[str, dict[str, Any]] = {"Cast": {"to": TensorProto.FLOAT}, "Transpose": {"perm": [0, 3, 1, 2]}}
    nodes = [
        helper.make_node(ways[0], ["image"], ["between"], **attributes[ways[0]]),
        helper.make_node(ways[1], ["between"], ["planes"], **attributes[ways[1]]),
        helper.make_node("Conv", ["planes", "weight"], ["scores"], pads=[1, 1, 1, 1]),
    ]
    weight = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(150, 3, 3, 3)).astype(np.float32), "weight")
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 150, "h", "w"])
    graph = helper.make_graph(nodes, "many", [image], [scores], [weight])
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return content


def forked(path: Path) -> bytes:
    """A shipped model whose image is looked at once more, beside the network, and whose scores are used once more."""
    graph = onnx.load(path)
    nodes = graph.graph.node
    last = nodes[-1]
    last.output[0] = "before"
    nodes.append(helper.make_node("Cast", ["image"], ["again"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("ReduceMean", ["again"], ["brightness"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["brightness", "nothing"], ["shift"]))
    nodes.append(helper.make_node("Add", ["before", "shift"], ["scores"]))
    nodes.append(helper.make_node("Relu", ["scores"], ["unused"]))
    graph.graph.initializer.append(helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]))
    content: bytes = graph.SerializeToString()
    return content


def skipping(path: Path) -> bytes:
    """A shipped model that adds its image, averaged to the scores' stride, to the scores: its first and last layer read it."""
    graph = onnx.load(path)
    nodes = graph.graph.node
    nodes[-1].output[0] = "before"
    nodes.append(helper.make_node("Transpose", ["image"], ["planes again"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Cast", ["planes again"], ["floats again"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("AveragePool", ["floats again"], ["small"], kernel_shape=[8, 8], strides=[8, 8]))
    nodes.append(helper.make_node("Conv", ["small", "to classes"], ["of image"]))
    nodes.append(helper.make_node("Add", ["before", "of image"], ["scores"]))
    nodes.append(helper.make_node("Relu", ["scores"], ["unused"]))
    graph.graph.initializer.append(helper.make_tensor("to classes", TensorProto.FLOAT, [7, 3, 1, 1], [0.01] * 21))
    content: bytes = graph.SerializeToString()
    return content


def graph_with(operator: str, **attributes: Any) -> bytes:  # noqa: ANN401
    """A network of one operator on the image at half its size; a `Conv` has a kernel of 3x3, a `Resize` doubles."""
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
    more = {"Conv": ["weight"], "Resize": ["", "scales"]}
    nodes = [
        helper.make_node("Transpose", [INPUT_NAME], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("MaxPool", ["float"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(operator, ["half", *more.get(operator, [])], ["scores"], **attributes),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "weight"),
        onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]
    content: bytes = helper.make_model(helper.make_graph(nodes, "g", [image], [scores], constants)).SerializeToString()
    return content


def enlarging(kernel: int, pads: list[int], output_padding: int) -> bytes:
    """A network that halves the image, enlarges it again by a transposed convolution, and then looks at 3x3 pixels."""
    random = np.random.default_rng(0)
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
    up: dict[str, Any] = {"strides": [2, 2], "pads": pads, "output_padding": [output_padding] * 2}
    nodes = [
        helper.make_node("Transpose", [INPUT_NAME], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("AveragePool", ["float"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["half", "to whole", "bias"], ["whole"], kernel_shape=[kernel] * 2, **up),
        helper.make_node("Conv", ["whole", "of nine"], ["scores"], kernel_shape=[3, 3], pads=[1] * 4),
    ]
    constants = [
        onnx.numpy_helper.from_array(random.standard_normal((3, 32, kernel, kernel)).astype(np.float32), "to whole"),
        onnx.numpy_helper.from_array(np.full(32, 500, np.float32), "bias"),  # of which the padding of the next layer has none
        onnx.numpy_helper.from_array(random.standard_normal((7, 32, 3, 3)).astype(np.float32) / 100, "of nine"),
    ]
    graph = helper.make_graph(nodes, "enlarging", [image], [scores], constants)
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return content


def with_weights_from(node: onnx.NodeProto, content: bytes) -> bytes:
    """The network with the weights that `node` gives as "weight", instead of the constant of that name."""
    model = onnx.load_from_string(content)
    for constant in [entry for entry in model.graph.initializer if entry.name == "weight"]:
        model.graph.initializer.remove(constant)
    model.graph.node.insert(0, node)
    changed: bytes = model.SerializeToString()
    return changed
