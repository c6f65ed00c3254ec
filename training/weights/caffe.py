"""Reads the names and blobs in a .caffemodel (Caffe's NetParameter), with layers of either generation of the format."""

from pathlib import Path

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from torch import Tensor

from training.errors import InputError

# Field numbers of caffe.proto: message -> {field: (number, type)}. Everything else in the file is skipped.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "NetParameter": {"layers": (2, "V1LayerParameter"), "layer": (100, "LayerParameter")},
    "V1LayerParameter": {"name": (4, "string"), "blobs": (6, "BlobProto")},
    "LayerParameter": {"name": (1, "string"), "blobs": (7, "BlobProto")},
    # Packed floats are bytes in the file, and are read as such: that avoids 138 million Python objects.
    "BlobProto": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "bytes"),
        "shape": (7, "BlobShape"),
    },
    "BlobShape": {"dim": (1, "int64")},
}
_REPEATED = {"layers", "layer", "blobs", "data", "dim"}


def read_caffe(path: Path) -> dict[str, Tensor]:
    """`<layer>.weight` and `<layer>.bias` of every layer that has them, float32. Raises InputError for a broken blob."""
    network = _message_class("NetParameter").FromString(path.read_bytes())
    tensors = {}
    for layer in (*network.layers, *network.layer):
        for kind, blob in zip(("weight", "bias"), layer.blobs, strict=False):
            tensors[f"{layer.name}.{kind}"] = _tensor(blob, f"{layer.name}.{kind}", path)
    return tensors


def _message_class(name: str) -> type[Message]:
    """The protobuf class of a message in _MESSAGES."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            label = kinds.LABEL_REPEATED if field in _REPEATED else kinds.LABEL_OPTIONAL
            if kind in _MESSAGES:
                described.field.add(name=field, number=number, label=label, type=kinds.TYPE_MESSAGE, type_name=f".caffe.{kind}")
            else:
                described.field.add(name=field, number=number, label=label, type=kinds.Type.Value(f"TYPE_{kind.upper()}"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: type[Message] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
    return found


def _tensor(blob: Message, name: str, path: Path) -> Tensor:
    values = np.frombuffer(b"".join(blob.data), "<f4")
    shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
    while len(shape) > 1 and shape[0] == 1:  # older files store vectors and matrices as (1, 1, ., .)
        shape.pop(0)
    if values.size != np.prod(shape):
        raise InputError(f"{path}: {name} holds {values.size} numbers instead of {shape}")
    return torch.from_numpy(values.reshape(shape).astype(np.float32))
