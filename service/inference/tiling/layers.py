"""A model's graph as layers: which input cells each layer reads, what the layer costs, and how large its output is.

Tiling needs this to cut a network into parts. A graph with a layer of an unknown kind, or with one whose output size does
not follow from its stride, can still be tiled as one part, with the halo given by the model's card.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from service.contract import INPUT_NAME
from service.inference.files.onnx_file import ELEMENT_TYPES, Message, OnnxFile, attributes, constant_value, floats

_FAR = 1 << 20  # cells: a place far from any image's borders
# Operators whose output cell reads only the same cell of each input; Concat and the conversions are handled apart.
_POINTWISE = {"Add", "Sub", "Mul", "Div", "Clip", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"}
_POINTWISE |= {"Elu", "Gelu", "Mish", "Exp", "Neg", "Abs", "Sqrt", "Max", "Min", "BatchNormalization", "Identity"}
_SAME_SHAPE = {"Cast", "Identity", "QuantizeLinear", "DequantizeLinear"}  # weights may pass through these


class UnknownLayer(ValueError):
    """A node whose reach is not known."""


@dataclass(frozen=True)
class Tensor:
    """The image or the output of a layer, described for any image size."""

    name: str
    stride: int  # image pixels per cell, along each axis
    channels: int
    dtype: np.dtype[Any]

    @property
    def bytes_per_pixel(self) -> float:
        """Bytes of the tensor for each pixel of the image."""
        return self.channels * self.dtype.itemsize / self.stride**2


@dataclass(frozen=True)
class Window:
    """The first and the last cell of a layer's input that a cell of its output reads, along one axis."""

    first: Callable[[int], int]
    last: Callable[[int], int]


_SAME_PLACE = (Window(lambda cell: cell, lambda cell: cell),) * 2


@dataclass(frozen=True)
class Layer:
    """One node that depends on the image."""

    index: int  # among the file's nodes
    inputs: tuple[Tensor, ...]  # those that depend on the image; all have the same stride
    output: Tensor
    windows: tuple[Window, Window] = _SAME_PLACE  # vertical, horizontal
    operations: float = 0.0  # multiply-accumulates per pixel of the image

    def reach(self, before: int, after: int) -> tuple[int, int]:
        """Pixels before and after a block that the inputs must cover, so that the output covers `before` and `after` pixels."""
        to, from_ = self.output.stride, self.inputs[0].stride
        end = _FAR * max(to, from_)  # of the block, which begins at 0
        befores = [-window.first(-before // to) * from_ for window in self.windows]
        afters = [(window.last((end + after - 1) // to) + 1) * from_ - end for window in self.windows]
        # At least what the output must cover, since that is computed where the inputs are and nowhere else.
        least_before, least_after = (-(-length // from_) * from_ for length in (before, after))
        return max(least_before, *befores), max(least_after, *afters)


@dataclass(frozen=True)
class Layers:
    """The layers of a graph in the order in which they run."""

    file: OnnxFile
    image: Tensor
    layers: tuple[Layer, ...]  # those that the scores depend on
    scores: Tensor

    @classmethod
    def of(cls, content: bytes, output_name: str) -> "Layers":
        """The layers of an ONNX file, from INPUT_NAME to `output_name`. Raises UnknownLayer."""
        file = OnnxFile(content)
        image = Tensor(INPUT_NAME, 1, 3, np.dtype(np.uint8))
        tensors = {image.name: image}
        shapes: dict[str, Sequence[int]] = {name: tensor.dims for name, tensor in file.constants.items()}
        shapes |= {node.output[0]: value.dims for node in file.nodes if (value := constant_value(node)) is not None}
        layers: list[Layer] = []
        for index, node in enumerate(file.nodes):
            inputs = tuple(tensors[name] for name in node.input if name in tensors)
            if inputs:
                layers.append(_layer(file, index, node, inputs, shapes))
                tensors[node.output[0]] = layers[-1].output
            elif node.op_type in _SAME_SHAPE and node.input[0] in shapes:
                shapes[node.output[0]] = shapes[node.input[0]]
        if output_name not in tensors:
            raise UnknownLayer(f"{output_name} does not depend on {INPUT_NAME}")
        needed = {output_name}
        for layer in reversed(layers):
            needed |= {tensor.name for tensor in layer.inputs} if layer.output.name in needed else set()
        kept = tuple(layer for layer in layers if layer.output.name in needed)
        return cls(file, image, kept, tensors[output_name])


def _layer(file: OnnxFile, index: int, node: Message, inputs: tuple[Tensor, ...], shapes: Mapping[str, Sequence[int]]) -> Layer:
    _require(node.domain in ("", "ai.onnx") and len(node.output) == 1, node)
    _require(len({tensor.stride for tensor in inputs}) == 1, node)
    if node.op_type in ("MaxPool", "AveragePool"):
        return _window_layer(index, node, inputs, ())
    if node.op_type in ("Conv", "ConvTranspose"):
        weight = shapes.get(node.input[1], ())
        _require(len(weight) == 4, node)  # else it is computed, and its shape is not known
        return _window_layer(index, node, inputs, weight)
    given, [name], stride, dtype = attributes(node), node.output, inputs[0].stride, inputs[0].dtype
    channels = max(tensor.channels for tensor in inputs)
    if node.op_type == "Resize":
        scale = _scale(file, node, given)
        _require(stride % scale == 0, node)
        output = Tensor(name, stride // scale, channels, dtype)
        return Layer(index, inputs, output, (_bilinear(scale), _bilinear(scale)))
    if node.op_type == "Concat":
        _require(given["axis"] == 1 and len(inputs) == len(node.input), node)
        channels = sum(tensor.channels for tensor in inputs)
    elif node.op_type == "Transpose":
        _require(given.get("perm") == [0, 3, 1, 2] and inputs[0].name == INPUT_NAME, node)
    elif node.op_type == "Cast":
        dtype = _dtype(node, given["to"])
    elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        _require(len(node.input) == 3, node)
        typed = file.constants.get(node.input[2 if node.op_type == "QuantizeLinear" else 1])  # zero point, or scale
        dtype = _dtype(node, typed.data_type if typed else 0)
    else:
        _require(node.op_type in _POINTWISE, node)
        for shape in (shapes[name] for name in node.input if name in shapes):
            if len(shape) > 1:  # it may have more channels than the image-dependent inputs, which are repeated then
                _require(len(shape) <= 4 and all(length == 1 for length in (*shape[:-3], *shape[-2:])), node)
                channels = max([channels, *shape[-3:-2]])
    return Layer(index, inputs, Tensor(name, stride, channels, dtype))


def _window_layer(index: int, node: Message, inputs: tuple[Tensor, ...], weight: Sequence[int]) -> Layer:
    """A convolution, a transposed convolution or a pooling layer.

    Raises UnknownLayer unless its output size is its input size divided by its step (transposed: multiplied by it).
    """
    given, stride = attributes(node), inputs[0].stride
    kernel = given.get("kernel_shape") or list(weight[2:])
    steps, dilations, pads = given.get("strides", [1, 1]), given.get("dilations", [1, 1]), given.get("pads", [0] * 4)
    _require(given.get("auto_pad", 0) in (0, "NOTSET") and not given.get("ceil_mode"), node)
    _require(len(kernel) == 2 and steps[0] == steps[1], node)
    [step, _], transposed = steps, node.op_type == "ConvTranspose"
    windows = []
    for axis in (0, 1):
        span, begin, end = dilations[axis] * (kernel[axis] - 1), pads[axis], pads[axis + 2]
        if transposed:
            added = (given.get("output_padding") or [0, 0])[axis]
            _require(added + span + 1 - begin - end == step and stride % step == 0, node)
            windows.append(_transposed(step, begin, span))
        else:
            _require(-step <= begin + end - span - 1 <= -1, node)
            windows.append(_strided(step, begin, span))
    channels = weight[1] * (given.get("group") or 1) if transposed else weight[0] if weight else inputs[0].channels
    output = Tensor(node.output[0], stride // step if transposed else stride * step, channels, inputs[0].dtype)
    operations = prod(weight) / (stride if transposed else output.stride) ** 2 if weight else 0.0
    return Layer(index, inputs, output, (windows[0], windows[1]), operations)


def _strided(step: int, begin: int, span: int) -> Window:
    return Window(lambda cell: cell * step - begin, lambda cell: cell * step - begin + span)


def _transposed(step: int, begin: int, span: int) -> Window:
    return Window(lambda cell: -((span - begin - cell) // step), lambda cell: (cell + begin) // step)


def _bilinear(scale: int) -> Window:
    """Half-pixel coordinates: cell o reads the two neighbours of (o + 0.5) / scale - 0.5."""
    return Window(lambda cell: (2 * cell + 1 - scale) // (2 * scale), lambda cell: (2 * cell + 1 - scale) // (2 * scale) + 1)


def _scale(file: OnnxFile, node: Message, given: Mapping[str, Any]) -> int:
    """The integer factor by which a bilinear Resize enlarges both axes. Raises UnknownLayer for any other Resize."""
    constant = file.constants.get(node.input[2]) if len(node.input) > 2 else None
    scales = [] if constant is None else floats(constant).tolist()
    half_pixel = given.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    _require(given.get("mode") == "linear" and half_pixel and not given.get("antialias"), node)
    _require(len(scales) == 4 and scales[:2] == [1, 1] and scales[2] == scales[3] == int(scales[2]), node)
    return int(scales[2])


def _dtype(node: Message, number: int) -> np.dtype[Any]:
    _require(number in ELEMENT_TYPES, node)
    return ELEMENT_TYPES[number]


def _require(known: bool, node: Message) -> None:
    if not known:
        raise UnknownLayer(f"{node.op_type} {node.output[0] if node.output else ''} is of a kind whose reach is not known")
