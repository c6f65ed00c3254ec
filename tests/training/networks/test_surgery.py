"""Weights move by name, all or none."""

import pytest
import torch
from torch import Tensor, nn

from training.errors import InputError
from training.networks.surgery import transfer


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def tensors() -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, 3) for name, tensor in network().state_dict().items()}


def test_every_tensor_is_copied_whatever_its_floating_type() -> None:
    ours = network()
    copied = transfer(ours, {name: tensor.half() for name, tensor in tensors().items()})
    assert copied.copied == tuple(ours.state_dict())
    assert all(bool((tensor == 3).all()) for tensor in ours.state_dict().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, "0.bias is missing"),
        ({"2.weight": torch.zeros(1)}, "2.weight has no place"),
        ({"0.weight": torch.zeros(4, 3, 3, 3)}, r"0.weight is \(4, 3, 3, 3\) instead of \(4, 3, 1, 1\)"),
        ({"0.bias": None, "1.bias": None}, "2 tensors differ"),
    ],
)
def test_a_miss_is_named_and_nothing_is_copied(change: dict[str, Tensor | None], message: str) -> None:
    ours = network()
    changed = {name: tensor for name, tensor in {**tensors(), **change}.items() if tensor is not None}
    with pytest.raises(InputError, match=message):
        transfer(ours, changed)
    assert not any(bool((tensor == 3).all()) for tensor in ours.state_dict().values())


def test_what_may_be_new_or_unused_is_told_by_layer() -> None:
    given = {name: tensor for name, tensor in tensors().items() if not name.startswith("0.")} | {"fc.weight": torch.zeros(1)}
    told = transfer(network(), given, fresh=("0.weight", "0.bias"), unused=("fc.weight", "fc.bias"))
    assert str(told) == "5 tensors copied (1); 2 tensors new (0); 1 tensors unused (fc)"


def test_a_wrong_shape_is_refused_even_where_the_layer_may_be_new() -> None:
    with pytest.raises(InputError, match=r"0\.bias is"):
        transfer(network(), {**tensors(), "0.bias": torch.zeros(5)}, fresh=("0.bias",))
