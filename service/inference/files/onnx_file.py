"""ONNX files without the `onnx` package: reading their nodes and metadata, cutting out a part, and building a small model.

The files are parsed with protobuf, which ONNX Runtime depends on. Only the few fields declared here are read, under their
numbers in onnx.proto; protobuf carries all others along unread. The `onnx` package would add 60 MB to the container image.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

Message = Any  # protobuf's generated classes have no static types here

_KINDS = {"long": 3, "int": 5, "string": 9, "bytes": 12}  # FieldDescriptorProto.Type
_MESSAGE = 11
_IR_VERSION, _OPSET = 8, 11  # in this opset, Split without attributes makes equal parts
_FIELDS: dict[str, dict[str, tuple[int, str, bool]]] = {  # message -> field -> number, type, repeated
    "Model": {
        "ir_version": (1, "long", False),
        "graph": (7, "Graph", False),
        "opset_import": (8, "Opset", True),
        "metadata_props": (14, "Entry", True),
        "functions": (25, "Function", True),
    },
    "Opset": {"version": (2, "long", False)},
    "Entry": {"key": (1, "string", False), "value": (2, "string", False)},
    "Function": {"node": (7, "Node", True), "domain": (10, "string", False), "attribute_proto": (11, "Attribute", True)},
    "Sparse": {"values": (1, "Tensor", False), "indices": (2, "Tensor", False)},
    "Graph": {
        "node": (1, "Node", True),
        "name": (2, "string", False),
        "initializer": (5, "Tensor", True),
        "sparse_initializer": (15, "Sparse", True),
        "input": (11, "Value", True),
        "output": (12, "Value", True),
    },
    "Node": {
        "input": (1, "string", True),
        "output": (2, "string", True),
        "op_type": (4, "string", False),
        "attribute": (5, "Attribute", True),
        "domain": (7, "string", False),
    },
    "Attribute": {
        "name": (1, "string", False),
        "i": (3, "long", False),
        "s": (4, "bytes", False),
        "t": (5, "Tensor", False),
        "g": (6, "Graph", False),
        "ints": (8, "long", True),
        "tensors": (10, "Tensor", True),
        "sparse_tensor": (22, "Sparse", False),
        "sparse_tensors": (23, "Sparse", True),
        "type": (20, "int", False),
        "graphs": (11, "Graph", True),
    },
    "Tensor": {
        "dims": (1, "long", True),
        "data_type": (2, "int", False),
        "name": (8, "string", False),
        "raw_data": (9, "bytes", False),
        "data_location": (14, "int", False),
    },
    "Value": {"name": (1, "string", False), "type": (2, "Type", False)},
    "Type": {"tensor_type": (1, "TensorType", False)},
    "TensorType": {"elem_type": (1, "int", False), "shape": (2, "Shape", False)},
    "Shape": {"dim": (1, "Dimension", True)},
    "Dimension": {"dim_value": (1, "long", False)},
}
MAX_DIMENSIONS = 8  # of a tensor in a file; the weights of a convolution have four
MAX_VALUES = 1 << 40  # of a tensor in a file: far more than a file can hold
MAX_FIELDS = 200_000  # of all messages in a file; the shipped models have up to 10,000, about 20 for each node
DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})  # of the operators built into ONNX Runtime
ELEMENT_TYPES: Mapping[int, np.dtype[Any]] = {  # TensorProto.DataType
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    10: np.dtype(np.float16),
}

_KIND_OF = {(message, number): kind for message, fields in _FIELDS.items() for number, kind, _ in fields.values()}
_VARINT, _LENGTH = 0, 2  # how protobuf writes a field: as an integer of 1 to 10 bytes, or as a length and that many bytes,
_FIXED = {1: 8, 5: 4}  # or as a fixed number of bytes


@cache
def _messages() -> Mapping[str, Any]:
    """The protobuf class of each message in `_FIELDS`, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="part_of_onnx.proto", package="part_of_onnx")
    for name, entries in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in entries.items():
            entry = message.field.add(name=field, number=number, label=3 if repeated else 1, type=_KINDS.get(kind, _MESSAGE))
            if kind not in _KINDS:
                entry.type_name = f".part_of_onnx.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"part_of_onnx.{name}")) for name in _FIELDS}


class UnsafeFile(ValueError):
    """A file that needs other files or custom operators, has sparse or impossible tensors, or has too many fields."""


class OnnxFile:
    """The nodes, constants and metadata of a model file."""

    def __init__(self, content: bytes) -> None:
        """Raises google.protobuf.message.DecodeError if `content` is no protobuf message, UnsafeFile if it has more than
        MAX_FIELDS fields, and MemoryError.
        """
        _require_few_fields(content)
        try:
            self._model = _messages()["Model"].FromString(content)
        except DecodeError as error:
            if "alloc failed" in str(error):  # so protobuf reports that memory is short
                raise MemoryError(str(error)) from error
            raise
        self.metadata: Mapping[str, str] = {entry.key: entry.value for entry in self._model.metadata_props}
        self.nodes: Sequence[Message] = self._model.graph.node
        self.constants: Mapping[str, Message] = {tensor.name: tensor for tensor in self._model.graph.initializer}

    @property
    def parameters(self) -> int:
        """The number of values in all constants. Call `require_self_contained` first, which refuses impossible shapes."""
        return sum(prod(tensor.dims) for tensor in self.constants.values())

    def require_self_contained(self) -> None:
        """Raises UnsafeFile if any graph or function has tensors that are not loaded, or operators that are not to be run.

        Tensors are not loaded if they are sparse, lie in other files or have impossible shapes.
        """
        functions = self._model.functions
        domains = DOMAINS | {function.domain for function in functions}
        graphs: list[Message] = [self._model.graph]
        nodes: list[Message] = [node for function in functions for node in function.node]
        entries: list[Message] = [entry for function in functions for entry in function.attribute_proto]
        tensors: list[Message] = []
        while graphs or nodes or entries:
            if graphs:
                graph = graphs.pop()
                nodes += graph.node
                tensors += graph.initializer
                _refuse_sparse(graph.sparse_initializer)
            elif nodes:
                node = nodes.pop()
                if node.domain not in domains:
                    raise UnsafeFile(f"operator {node.op_type} is of {node.domain!r}: custom operators are not loaded")
                entries += node.attribute
            else:
                entry = entries.pop()
                graphs += [*entry.graphs, *([entry.g] if entry.HasField("g") else [])]
                tensors += [*entry.tensors, *([entry.t] if entry.HasField("t") else [])]
                _refuse_sparse([*entry.sparse_tensors, *([entry.sparse_tensor] if entry.HasField("sparse_tensor") else [])])
        for tensor in tensors:
            if tensor.data_location:
                raise UnsafeFile(f"tensor {tensor.name!r} lies in another file: a model is one file (external_data=False)")
            dims = tensor.dims
            # The product is computed last: that of many dimensions would take minutes.
            if len(dims) > MAX_DIMENSIONS or min(dims, default=0) < 0 or prod(dims) > MAX_VALUES:
                raise UnsafeFile(f"tensor {tensor.name!r} has an impossible shape: {list(dims[:MAX_DIMENSIONS])}")

    @property
    def input_sizes(self) -> Mapping[str, tuple[int, ...]]:
        """The dimensions of each input by name; 0 for a free dimension, which some exporters write as -1."""
        sized = ((value.name, value.type.tensor_type.shape.dim) for value in self._model.graph.input)
        return {name: tuple(max(0, entry.dim_value) for entry in dimensions) for name, dimensions in sized}

    def cut(self, nodes: Collection[int], inputs: Mapping[str, np.dtype[Any]], outputs: Mapping[str, np.dtype[Any]]) -> bytes:
        """A model of some nodes, given by their indices, with all nodes and constants that they need, up to the `inputs`.

        `inputs` and `outputs`: name -> dtype of tensors with four dimensions of free size.
        """
        makers = {name: index for index, node in enumerate(self.nodes) for name in node.output if name not in inputs}
        needed, open_nodes = set(nodes), list(nodes)
        while open_nodes:  # add nodes that compute constants for others, such as int8 weights converted to float
            fresh = {makers[name] for name in self.nodes[open_nodes.pop()].input if name in makers} - needed
            needed |= fresh
            open_nodes += fresh
        part = _messages()["Model"]()
        part.CopyFrom(self._model)
        graph = part.graph
        for entries in (graph.node, graph.initializer, graph.input, graph.output):
            del entries[:]
        graph.node.extend(self.nodes[index] for index in sorted(needed))
        read = {name for node in graph.node for name in node.input}
        graph.initializer.extend(tensor for name, tensor in self.constants.items() if name in read)
        graph.input.extend(_value(name, dtype) for name, dtype in inputs.items())
        graph.output.extend(_value(name, dtype) for name, dtype in outputs.items())
        content: bytes = part.SerializeToString()
        return content


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str]) -> Message:
    """A node without attributes."""
    return _messages()["Node"](op_type=operator, input=inputs, output=outputs)


def small_model(nodes: Sequence[Message], inputs: Mapping[str, np.dtype[Any]], outputs: Mapping[str, np.dtype[Any]]) -> bytes:
    """A model of `nodes`; `inputs` and `outputs`: name -> dtype of tensors with four dimensions of free size."""
    model = _messages()["Model"](ir_version=_IR_VERSION)
    model.opset_import.add(version=_OPSET)
    model.graph.name = "small"
    model.graph.node.extend(nodes)
    model.graph.input.extend(_value(name, dtype) for name, dtype in inputs.items())
    model.graph.output.extend(_value(name, dtype) for name, dtype in outputs.items())
    content: bytes = model.SerializeToString()
    return content


def _require_few_fields(content: bytes) -> None:
    """Raises UnsafeFile if the messages in a file have more than MAX_FIELDS fields, and DecodeError if that cannot be told.

    An empty node has 2 bytes, and about 250 once protobuf and Python have made objects of it. So this reads the messages that
    protobuf would read, but makes nothing of them. Integers that are packed together count by their bytes.
    """
    count = 0
    unfinished = [("Model", 0, len(content))]  # messages around the present one: name, and the rest of its bytes
    while unfinished:
        message, place, end = unfinished.pop()
        while place < end:
            tag, place = _varint(content, place)
            kind, form, size = _KIND_OF.get((message, tag >> 3)), tag & 7, 0
            if form == _LENGTH:
                size, place = _varint(content, place)
            elif form == _VARINT:
                _, place = _varint(content, place)
            elif form in _FIXED:
                size = _FIXED[form]
            else:
                raise DecodeError("it has a field of a kind that ONNX does not use")
            if place + size > end:
                raise DecodeError("a field of it is cut short")
            count += 1 + (size if kind == "long" else 0)
            if count > MAX_FIELDS:
                raise UnsafeFile(f"it has more than {MAX_FIELDS} fields, such as names, attributes and dimensions")
            if form == _LENGTH and kind in _FIELDS:
                unfinished.append((message, place + size, end))
                message, end = kind, place + size
            else:
                place += size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """The integer of variable length at a place, and the place after it. Raises DecodeError if there is none."""
    value = 0
    for index, byte in enumerate(content[place : place + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, place + index + 1
    raise DecodeError("a field of it is cut short")


def _refuse_sparse(tensors: Sequence[Message]) -> None:
    if tensors:
        raise UnsafeFile("sparse tensors are not loaded")


def attributes(node: Message) -> dict[str, Any]:
    """A node's attributes by name: a list of integers, a string, or an integer (0 for attributes of other kinds)."""
    return {entry.name: list(entry.ints) or (entry.s.decode() if entry.s else entry.i) for entry in node.attribute}


def constant_value(node: Message) -> Message | None:
    """The tensor that a Constant node gives; None for any other node, and for one that gives no tensor."""
    values = (entry.t for entry in node.attribute if entry.name == "value") if node.op_type == "Constant" else ()
    return next(iter(values), None)


def floats(tensor: Message) -> NDArray[np.float32]:
    """The values of a float32 constant as a 1-D array; empty for another dtype, or if they are not stored as raw bytes."""
    return np.frombuffer(tensor.raw_data, "<f4") if tensor.data_type == 1 else np.empty(0, np.float32)


def _value(name: str, dtype: np.dtype[Any]) -> Message:
    value = _messages()["Value"](name=name)
    value.type.tensor_type.elem_type = next(number for number, known in ELEMENT_TYPES.items() if known == dtype)
    for _ in range(4):
        value.type.tensor_type.shape.dim.add()
    return value
