"""Models whose answer anyone can tell by looking: the class of a pixel is its strongest colour."""

import json
from pathlib import Path

from onnx import TensorProto, helper

from service.contract import METADATA_KEY, ClassInfo, ModelCard

STRIDE, OUTPUT_STRIDE, LONG_SIDE = 16, 4, 128
CLASSES = (
    ClassInfo(id=0, name="red", color="#c00000"),
    ClassInfo(id=1, name="green", color="#00c000"),
    ClassInfo(id=2, name="blue", color="#0000c0"),
)


def card(**changes: object) -> dict[str, object]:
    """The card of the red, green and blue model, as JSON data, with some entries changed."""
    return {
        "name": "colors",
        "architecture": "averages",
        "classes": [entry.model_dump() for entry in CLASSES],
        "stride": STRIDE,
        "output_stride": OUTPUT_STRIDE,
        "halo": None,
        "long_side": LONG_SIDE,
        "pad_value": 127,
        "precision": "fp32",
        "dataset": "none",
        "licence": "Apache-2.0",
        "metrics": [],
        "empty_scenes": [],
        "preset": "none",
        "training_commit": "none",
        "parameters": 0,
        "gmac": 0.0,
    } | changes


def network(
    metadata: str | None = None,
    input_name: str = "image",
    input_type: int = TensorProto.UINT8,
    opset: int = 17,
    scores_type: int = TensorProto.FLOAT,
) -> bytes:
    """An ONNX file that averages each colour over cells; the card, if any, is written as it is given."""
    image = helper.make_tensor_value_info(input_name, input_type, ["n", "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", scores_type, ["n", 3, "y", "x"])
    cell = [OUTPUT_STRIDE, OUTPUT_STRIDE]
    nodes = [
        helper.make_node("Cast", [input_name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["means"], kernel_shape=cell, strides=cell),
        helper.make_node("Mul", ["means", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["scores"], to=scores_type),
    ]
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 32])
    graph = helper.make_graph(nodes, "colors", [image], [scores], [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata})
    content: bytes = model.SerializeToString()
    return content


def write_model(folder: Path, file: str = "colors.onnx", **changes: object) -> ModelCard:
    """Write the model with its card, some entries changed, and return the card."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(card(**changes))
    (folder / file).write_bytes(network(data))
    return ModelCard.model_validate_json(data)
