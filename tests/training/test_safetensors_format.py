"""Weights are written as the safetensors package writes them."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from training.safetensors_format import serialise


def contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


@pytest.mark.parametrize("metadata", [{"preset": "ä"}, {"one": "1"}])
def test_the_bytes_are_those_of_the_package(metadata: dict[str, str]) -> None:
    random = torch.Generator().manual_seed(0)
    tensors = {
        "kernel": torch.randn(4, 3, 5, 5, generator=random).to(memory_format=torch.channels_last),
        "half": torch.randn(3, 7, generator=random).half(),
        "brain": torch.randn(3, generator=random).bfloat16(),
        "count": torch.tensor(12345678901),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "a/scalar": torch.tensor(0.5),
        "none": torch.empty(0),
    }
    written = b"".join(serialise(tensors, metadata))
    assert written == safetensors.torch.save(contiguous(tensors), metadata)


def test_what_lies_in_order_is_written_from_where_it_lies() -> None:
    tensor = torch.randn(1000)
    _, piece = serialise({"t": tensor}, {})
    assert np.shares_memory(np.frombuffer(piece, np.uint8), tensor.numpy())


def test_trained_parameters_can_be_written() -> None:
    layer = torch.nn.Linear(3, 2)
    written = b"".join(serialise(dict(layer.named_parameters()), {}))
    assert torch.equal(safetensors.torch.load(written)["weight"], layer.weight)
