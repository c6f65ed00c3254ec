"""Training on several processes at once, started by torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from training.machine import default_device

JOIN_TIMEOUT = timedelta(minutes=30)  # longest wait for the other processes


@dataclass(frozen=True)
class World:
    """The place of this process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls) -> Self:
        """A world of one process, on the default device."""
        return cls(0, 1, default_device())

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files and prints."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """Sum of `value` over all processes, on the device of `value`."""
        if self.size == 1:
            return value
        shared = value.detach().to(self.device, copy=True)
        dist.all_reduce(shared)
        return shared.to(value.device)

    def least(self, value: int) -> int:
        """The smallest `value` over all processes."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, device=self.device)
        dist.all_reduce(shared, dist.ReduceOp.MIN)
        return int(shared)


def may_speak() -> bool:
    """Whether this process will be the main one, which prints; for use before `world` has joined the processes."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def world() -> Iterator[World]:
    """Join the processes that torchrun started until the end of the block; a world of one process if there are none."""
    if "RANK" not in os.environ:
        yield World.alone()
        return
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    dist.init_process_group("nccl" if cuda else "gloo", timeout=JOIN_TIMEOUT)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes; torch's own runs on GPUs alone."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = float(_sum(values.new_tensor(values.numel() / x.shape[1])))
        mean = _sum(values.sum((0, 2, 3))) / count
        variance = _sum((values - mean.view(-1, 1, 1)).square().sum((0, 2, 3))) / count
        with torch.no_grad():
            running_mean, running_var = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
            running_mean.lerp_(mean, cast(float, self.momentum))
            running_var.lerp_(variance * count / (count - 1), cast(float, self.momentum))
            cast(Tensor, self.num_batches_tracked).add_(1)
        scale = self.weight / (variance + self.eps).sqrt()
        normalised: Tensor = values * scale.view(-1, 1, 1) + (self.bias - mean * scale).view(-1, 1, 1)
        return normalised.to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over all processes. The gradient is summed too, since every process has used the total."""

    @staticmethod
    def forward(_: FunctionCtx, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum(value: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return result


def synchronise(module: nn.Module) -> None:
    """Replace every batch normalisation in `module` by one over the images of all processes; names and values stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = SynchronisedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            shared.train(child.training)
            for parameter, original in zip(shared.parameters(), child.parameters(), strict=True):
                parameter.requires_grad_(original.requires_grad)
            setattr(module, name, shared)
        else:
            synchronise(child)
