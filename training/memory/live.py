"""Counts the bytes that live tensors hold while operations run, without keeping the tensors alive."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # as torch.utils.flop_counter does
from torch.utils._pytree import tree_leaves

_CONVOLUTION = torch.ops.aten.convolution.default
_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default


class LiveBytes(TorchDispatchMode):
    """A dispatch mode that counts every storage from the operation that makes it until the storage is freed.

    Under torch's `FakeTensorMode`, whose tensors have shapes but no contents, nothing is computed or allocated.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0  # since the last `restart`; includes the workspaces of operations
        self._on_cpu = device.type == "cpu"
        self._known: set[int] = set()  # by identity: torch keeps a storage's Python object as long as the storage

    def count(self, tensor: Tensor) -> None:
        """Count the storage of `tensor`, unless it is counted already."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            weakref.finalize(storage, self._release, key, size)

    def restart(self) -> None:
        """Restart the search for the peak."""
        self.peak = self.now

    def _release(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.now -= size

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run the operation; count its results and its workspace."""
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        self.peak = max(self.peak, self.now + (workspace(operation, args) if self._on_cpu else 0))
        return result


def workspace(operation: Callable[..., Any], arguments: Sequence[Any]) -> int:
    """Bytes that a convolution on a CPU holds besides its results, as measured with oneDNN 3.12 (docs/memory.md).

    Forward: a copy of the weights in oneDNN's own layout. Backward: such copies of the weights and of their gradient.
    """
    if operation is _CONVOLUTION:
        return int(arguments[1].nbytes)
    if operation is _CONVOLUTION_BACKWARD:
        return 2 * int(arguments[2].nbytes)
    return 0
