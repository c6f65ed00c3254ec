"""Made-up files of VGG-16 weights in each published format, of the narrow network's shapes."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import torch
from torch import Tensor

from tests.narrow_vgg16 import CHANNELS, NARROW_PAPER
from training.networks.vgg16 import CONVOLUTIONS

CLASSES = 5  # of the classifier that no FCN keeps
TORCHVISION = {  # of the published file: features.N counts ReLUs and poolings too
    **dict(zip(("conv1_1", "conv1_2", "conv2_1", "conv2_2"), (0, 2, 5, 7), strict=True)),
    **dict(zip(("conv3_1", "conv3_2", "conv3_3"), (10, 12, 14), strict=True)),
    **dict(zip(("conv4_1", "conv4_2", "conv4_3"), (17, 19, 21), strict=True)),
    **dict(zip(("conv5_1", "conv5_2", "conv5_3"), (24, 26, 28), strict=True)),
}


def convolutions() -> dict[str, Tensor]:
    """conv1_1 to conv5_3 by well-known name, random."""
    tensors, width = {}, 3
    for stage, (outputs, count) in enumerate(zip(CHANNELS, CONVOLUTIONS, strict=True), 1):
        for number in range(1, count + 1):
            tensors[f"conv{stage}_{number}.weight"] = torch.randn(outputs, width, 3, 3)
            tensors[f"conv{stage}_{number}.bias"] = torch.randn(outputs)
            width = outputs
    return tensors


def connected() -> dict[str, Tensor]:
    """fc6, fc7 and fc8 as matrices."""
    width, tensors = NARROW_PAPER.fc_channels, {}
    shapes = {"fc6": (width, 49 * CHANNELS[-1]), "fc7": (width, width), "fc8": (CLASSES, width)}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(shape)
        tensors[f"{name}.bias"] = torch.randn(shape[0])
    return tensors


def write_torchvision(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """A .pth file."""
    places = {name: f"features.{number}" for name, number in TORCHVISION.items()}
    places |= {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    renamed = {}
    for name, tensor in tensors.items():
        layer, kind = name.split(".")
        renamed[f"{places.get(layer, layer)}.{kind}"] = tensor
    torch.save(renamed, path)
    return path


def write_caffe(path: Path, tensors: Mapping[str, Tensor], old: bool = True) -> Path:
    """A .caffemodel, of the old generation as the published one, or of the new: field numbers as in caffe.proto."""
    layer_field, name_field, blobs_field = (2, 4, 6) if old else (100, 1, 7)
    content = field(1, b"VGG_ILSVRC_16_layers") + field(layer_field, field(name_field, b"relu1_1"))
    for name in dict.fromkeys(name.split(".")[0] for name in tensors):
        layer = field(name_field, name.encode())
        for kind in ("weight", "bias"):
            if (tensor := tensors.get(f"{name}.{kind}")) is not None:
                shape = (1,) * (4 - tensor.dim()) + tuple(tensor.shape)
                sizes = b"".join(varint(number << 3) + varint(size) for number, size in enumerate(shape, 1))
                packed = field(7, field(1, b"".join(map(varint, tensor.shape))))
                layer += field(blobs_field, field(5, tensor.numpy().tobytes()) + (sizes if old else packed))
        content += field(layer_field, layer)
    path.write_bytes(content)
    return path


def field(number: int, payload: bytes) -> bytes:
    """A protobuf field of bytes, text, a message or packed numbers."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first, the eighth says that more follow."""
    parts = [value & 127]
    while value := value >> 7:
        parts.append(value & 127)
    return bytes([part | 128 for part in parts[:-1]] + parts[-1:])


def write_hed(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """An .h5 file as Keras writes it, with the edge detector's own layers."""
    with h5py.File(path, "w") as file:
        for name, tensor in tensors.items():
            layer, kind = name.split(".")
            stage, number = layer.removeprefix("conv").split("_")
            keras = "conv2d" if number == "1" else f"conv2d_{int(number) - 1}"
            stored = tensor.permute(2, 3, 1, 0) if tensor.dim() > 1 else tensor
            file[f"block{stage}/layers/{keras}/vars/{0 if kind == 'weight' else 1}"] = stored.numpy()
        for name in ("dsn1", "dsn2", "dsn3", "dsn4", "dsn5", "fuse"):
            file[f"{name}/vars/0"], file[f"{name}/vars/1"] = torch.zeros(1, 1, 2, 1).numpy(), torch.zeros(1).numpy()
    return path
