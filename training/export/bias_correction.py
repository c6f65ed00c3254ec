"""Corrects biases to compensate for rounded weights (Nagel et al., 2019, arXiv:1906.04721, section 4.2)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from service.contract import INPUT_NAME
from training.onnx_model import open_session

Images = Sequence[NDArray[np.uint8]]  # each (1, H, W, 3)


def correct_biases(quantised: ModelProto, model: ModelProto, images: Images) -> None:
    """Subtract from every int32 bias in `quantised` the mean error that its convolution's rounded weights cause on `images`.

    `model` is the graph before quantisation. Rounding shifts the mean of a channel, and later layers see the shift in every
    pixel. A convolution without a bias stays as it is; exported networks have no such convolution, since batch normalisation
    becomes a bias.
    """
    originals = {node.name: node for node in model.graph.node}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    tensors = {tensor.name: tensor for tensor in quantised.graph.initializer}
    dequantised = {node.output[0]: node.input for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
    means = _mean_inputs(model, images)
    for node in quantised.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[1] not in dequantised:
            continue
        original = originals[node.name]
        rounded, scale, _ = (numpy_helper.to_array(tensors[name]) for name in dequantised[node.input[1]])
        error = (rounded * scale[:, None, None, None] - weights[original.input[1]]).sum((2, 3))  # (out, in / groups)
        read = means[original.input[0]].reshape(groups(node), -1).repeat(len(error) // groups(node), axis=0)
        name, scale_name, _ = dequantised[node.input[2]]
        shift = (error * read).sum(1) / numpy_helper.to_array(tensors[scale_name])
        bias = numpy_helper.to_array(tensors[name]) - shift.round().astype(np.int32)
        tensors[name].CopyFrom(numpy_helper.from_array(bias, name))


def groups(convolution: NodeProto) -> int:
    """The number of groups into which a convolution divides its channels."""
    return next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)


def _mean_inputs(model: ModelProto, images: Images) -> dict[str, NDArray[np.float32]]:
    """(channels,) mean over pixels and images of every tensor that a convolution reads, by the tensor's name."""
    probe = ModelProto()
    probe.CopyFrom(model)
    names = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"})
    probe.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3]), "all_but_channels"))
    for name in names:
        probe.graph.node.append(helper.make_node("ReduceMean", [name, "all_but_channels"], [f"{name}_mean"], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(f"{name}_mean", TensorProto.FLOAT, None))
    session = open_session(probe.SerializeToString(), "the graph with means")
    found = [session.run([f"{name}_mean" for name in names], {INPUT_NAME: image}) for image in images]
    return {name: np.mean(values, axis=0) for name, values in zip(names, zip(*found, strict=True), strict=True)}
