"""Converts a graph to half precision (fp16 weights and activations) for GPUs; a CPU still computes in fp32."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from service.contract import OUTPUT_NAME


def to_fp16(model: ModelProto) -> ModelProto:
    """The graph with everything from the first convolution on in fp16. Input and output keep their types.

    The normalisation before that convolution stays fp32: it subtracts a mean from values up to 255, where fp16 has steps of
    1/8. This is no library call because the existing converters fail at two Resize operators that read the same scales.
    ONNX Runtime 1.31 places a cast after the operator that needs it. onnxconverter-common 1.16 makes the scales fp16, which
    Resize does not allow (unless every Resize stays fp32), and also rounds the normalisation's constants to fp16.
    """
    graph = model.graph
    first = next(index for index, node in enumerate(graph.node) if node.op_type == "Conv")
    head, body = graph.node[:first], graph.node[first:]
    types = {value.name: value.type.tensor_type.elem_type for value in shape_inference.infer_shapes(model).graph.value_info}
    read = {name for node in body for index, name in enumerate(node.input) if _takes_fp16(node, index)}
    entering = [name for node in head for name in node.output if name in read and types[name] == TensorProto.FLOAT]
    names = {name: f"{name}_fp16" for name in (*entering, OUTPUT_NAME)}
    nodes = [
        *head,
        *(helper.make_node("Cast", [name], [names[name]], to=TensorProto.FLOAT16) for name in entering),
        *(_renamed(node, names) for node in body),
        helper.make_node("Cast", [names[OUTPUT_NAME]], [OUTPUT_NAME], to=TensorProto.FLOAT),
    ]
    weights = [_half(tensor) if tensor.name in read else tensor for tensor in graph.initializer]
    half = helper.make_graph(nodes, graph.name, graph.input, graph.output, weights)
    return helper.make_model(half, opset_imports=model.opset_import, ir_version=model.ir_version)


def _takes_fp16(node: NodeProto, index: int) -> bool:
    """Whether the input at `index` of an operator may be fp16: the scales of a Resize may not."""
    return node.op_type != "Resize" or index == 0


def _renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    renamed = NodeProto()
    renamed.CopyFrom(node)
    renamed.input[:] = [names.get(name, name) if _takes_fp16(node, index) else name for index, name in enumerate(node.input)]
    renamed.output[:] = [names.get(name, name) for name in node.output]
    return renamed


def _half(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
