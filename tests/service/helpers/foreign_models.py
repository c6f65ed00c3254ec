"""Models that were not exported here, with the cards beside them."""

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from service.inference.models.repository import Repository

CRASH = "it ends the process that tries it out: SIGFPE"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def foreign_model(
    layout: str = "NCHW",
    dtype: str = "float32",
    domain: str = "",
    size: tuple[int | str, int | str] = ("w", "h"),
    batch: int | str = "n",
    output_stride: int = 1,
) -> onnx.ModelProto:
    """A graph as torchvision's exports are: normalised planes in, scores of the input's size out, and another output.

    `size` is (width, height). With an output stride, which is of planes only, scores are means.
    """
    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}[dtype]
    width, height = size
    shape = [batch, 3, height, width] if layout == "NCHW" else [batch, height, width, 3]
    cell = [output_stride, output_stride]
    given = helper.make_tensor_value_info("pixel_values", kind, shape)
    scores = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    other = helper.make_tensor_value_info("aux", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["float"], ["aux"]),
        helper.make_node("AveragePool", ["float"], ["means"], kernel_shape=cell, strides=cell),
        helper.make_node("Mul", ["float" if output_stride == 1 else "means", "two"], ["out"], domain=domain),
    ]
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph(nodes, "foreign", [given], [scores, other], [two])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def model_of(operator: str) -> onnx.ModelProto:
    """A graph of one operator."""
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, "h", "w"])
    scores = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(operator, ["pixel_values"], ["out"])], operator, [given], [scores])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def endless_model() -> onnx.ModelProto:
    """A graph that adds 0 to its input 2^40 times."""
    step = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes_on"]), helper.make_node("Add", ["sum", "zero"], ["next"])],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    constants = [
        helper.make_tensor("steps", TensorProto.INT64, [], [1 << 40]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
    ]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["steps", "true", "pixel_values"], ["out"], body=step)],
        "endless",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def crashing(network: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with a convolution of no groups, by whose number ONNX Runtime divides."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [3, 3, 1, 1], [1.0] * 9)
    network.graph.initializer.append(weights)
    [planes] = [node.output[0] for node in network.graph.node if node.op_type == "AveragePool"]
    network.graph.node.append(helper.make_node("ConvTranspose", [planes, "weights"], ["unused"], group=0))
    network.graph.output.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, None))
    return network


def write_foreign(folder: Path, model: onnx.ModelProto, **changes: object) -> None:
    """The model and its card, some entries of which are changed; `input` is changed entry by entry. `file`: their stem."""
    file = changes.pop("file", "foreign")
    (folder / f"{file}.onnx").write_bytes(model.SerializeToString())
    given = {"name": "pixel_values", "mean": MEAN, "std": STD} | dict(changes.pop("input", {}))  # type: ignore[call-overload]
    card = {"name": "foreign", "input": given, "output": {"name": "out"}, "classes": ["red", "green", "blue"]}
    (folder / f"{file}.json").write_text(json.dumps(card | changes))


def broken(folder: Path) -> str:
    """Why the one model in a folder is left out."""
    repository = Repository(folder, "cpu")
    assert not repository.models
    [reason] = repository.broken.values()
    return reason
