"""Reads torchvision's vgg16-*.pth: a pickled dictionary of tensors whose names number the layers by position."""

from pathlib import Path

import torch
from torch import Tensor

from training.networks.vgg16 import CONVOLUTIONS

_CONNECTED = {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}


def read_torchvision(path: Path) -> dict[str, Tensor]:
    """Tensors by layer name; names that torchvision's VGG-16 does not have stay as they are."""
    names = {**_layer_names(), **_CONNECTED}
    stored = torch.load(path, map_location="cpu", weights_only=True)
    renamed = {}
    for name, tensor in stored.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{names.get(layer, layer)}.{kind}"] = tensor
    return renamed


def _layer_names() -> dict[str, str]:
    """features.P -> convS_N; P counts convolutions, ReLUs and poolings alike."""
    names, position = {}, 0
    for stage, count in enumerate(CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            names[f"features.{position}"] = f"conv{stage}_{number}"
            position += 2
        position += 1
    return names
