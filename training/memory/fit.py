"""Which change makes a recipe fit into memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from training.memory.estimate import Estimate
from training.networks import LIGHTER
from training.plan import Plan, Precision
from training.presets.preset import Preset

MARGIN = 1.1  # over the estimate: what allocators round up, and leave between their blocks
BESIDE = 256_000_000  # bytes: code that is loaded when it is first called, workers' batches, the pictures of an epoch's end
HEAP_GROWTH = 1.5  # likewise where freed memory is kept: blocks come to lie where no later one fits


@dataclass(frozen=True)
class Trial:
    """A recipe, a way to carry it out, and what that takes."""

    preset: Preset
    plan: Plan
    estimate: Estimate

    def fits(self, free: int) -> bool:
        """Whether it can be expected to run in that many bytes."""
        return self.estimate.peak * MARGIN + BESIDE <= free

    def has_room(self, free: int) -> bool:
        """Whether it does so though freed memory is kept, see `training.machine.keep_freed_memory`."""
        return self.estimate.peak * HEAP_GROWTH + BESIDE <= free


Try = Callable[[Preset, Plan], Trial]


def lower_precision(device: torch.device) -> Precision | None:
    """The 16-bit type that convolutions on `device` are made for; None where they are made for none.

    bf16 has the range of fp32; fp16, on GPUs before Ampere, needs its gradients scaled. On a CPU without AVX-512 torch
    falls back on a convolution that lays out every window: it takes several times the memory of fp32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.backends.cpu.get_cpu_capability() == "AVX512" else None


def fit(asked: Trial, tried: Iterable[Trial], free: int, trial: Try) -> list[Trial]:
    """Those of the changes to `asked` that were tried until one fits into `free` bytes: the last one does, or none does.

    Where it fits with one crop at a time, the last one has as many as fit.
    """
    trials = []
    for change in tried:
        trials.append(change)
        if not change.fits(free):
            continue
        size = asked.plan.micro_batch
        while (size := -(-size // 2)) > 1:
            more = trial(change.preset, replace(change.plan, micro_batch=size))
            if more.fits(free):
                return [*trials, more]
        break
    return trials


def one_at_a_time(asked: Trial, trial: Try) -> list[Trial]:
    """The one change that a run can make after it has begun; empty where it is made already."""
    return [trial(asked.preset, replace(asked.plan, micro_batch=1))] if asked.plan.micro_batch > 1 else []


def changes(asked: Trial, lower: Precision | None, trial: Try) -> Iterator[Trial]:
    """What saves memory, the least change first: one crop at a time, lower precision, recomputing; then a lighter network.

    Each is made on top of those before it, as far as they saved any.
    """
    steps: list[Callable[[Plan], Plan]] = [lambda plan: replace(plan, recompute=True)]
    if lower is not None:
        steps.insert(0, lambda plan: replace(plan, precision=lower))
    best = asked
    for best in one_at_a_time(asked, trial):
        yield best
    for architecture in (asked.preset.architecture, LIGHTER.get(asked.preset.architecture)):
        if architecture is None:
            return
        if architecture != asked.preset.architecture:
            best = trial(replace(asked.preset, architecture=architecture), replace(asked.plan, micro_batch=1))
            yield best
        for step in steps:
            if (plan := step(best.plan)) != best.plan:
                change = trial(best.preset, plan)
                yield change
                best = min(best, change, key=lambda tried: tried.estimate.peak)
