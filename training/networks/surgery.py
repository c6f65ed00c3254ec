"""Copies weights into a network by tensor name, and names every mismatch."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from training.errors import InputError

NAMED = 20  # layers listed by name in a line; more are grouped


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer: names of the network's and the file's tensors, by what happened to them."""

    copied: tuple[str, ...]  # of the network: filled from the file
    fresh: tuple[str, ...]  # of the network: stay as they were drawn
    unused: tuple[str, ...]  # of the file: not in the network
    remark: str = ""  # on the file

    def __str__(self) -> str:
        """One line for people: layers by name, many of a kind as one group. `text` lists every tensor."""
        parts = [f"{len(names)} tensors {what} ({_layers(names)})" for what, names in self._kinds if names]
        return "; ".join([*parts, self.remark] if self.remark else parts)

    def text(self) -> str:
        """Every tensor by name, one per line."""
        return "".join(f"{what} {name}\n" for what, names in self._kinds for name in names)

    @property
    def _kinds(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("copied", self.copied), ("new", self.fresh), ("unused", self.unused)


def _layers(names: Iterable[str]) -> str:
    layers = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
    if len(layers) <= NAMED:
        return ", ".join(layers)
    groups = Counter(".".join(layer.split(".")[:2]) for layer in layers)
    return ", ".join(f"{group} x{count}" if count > 1 else group for group, count in groups.items())


def transfer(
    network: nn.Module, tensors: Mapping[str, Tensor], *, fresh: Collection[str] = (), unused: Collection[str] = ()
) -> Transfer:
    """Copy `tensors`, of any floating-point type, into the tensors of `network` that have the same names.

    `fresh` names tensors of the network that `tensors` may lack, `unused` those in `tensors` that the network may lack.
    Raises InputError, before anything is copied, if another tensor is missing or left over, or if a shape differs.
    """
    ours = network.state_dict()
    wrong = [f"{name} is missing" for name in ours if name not in tensors and name not in fresh]
    wrong += [f"{name} has no place" for name in tensors if name not in ours and name not in unused]
    common = [name for name in ours if name in tensors]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} instead of {tuple(ours[name].shape)}"
        for name in common
        if tensors[name].shape != ours[name].shape
    ]
    if wrong:
        raise InputError(f"the weights do not fit the network: {len(wrong)} tensors differ, first: {wrong[0]}")
    for name in common:
        ours[name].copy_(tensors[name])
    return Transfer(tuple(common), tuple(n for n in ours if n not in tensors), tuple(n for n in tensors if n not in ours))
