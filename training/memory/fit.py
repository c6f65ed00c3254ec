"""Finds the changes that make a recipe fit into memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from training.memory.estimate import Estimate
from training.networks import LIGHTER
from training.plan import ActivationType, Plan
from training.presets.preset import Preset

MARGIN = 1.1  # factor on the estimate: allocators round up, and leave gaps between blocks
BESIDE = 256_000_000  # bytes: code loaded at its first call, workers' batches, pictures at an epoch's end
HEAP_GROWTH = 1.5  # the factor where freed memory is kept: fragmentation leaves gaps that no later block fits


@dataclass(frozen=True)
class Trial:
    """A recipe, a plan to carry it out, and the estimate of its memory."""

    preset: Preset
    plan: Plan
    estimate: Estimate

    def fits(self, free: int) -> bool:
        """Whether the trial can be expected to run in `free` bytes."""
        return self.estimate.peak * MARGIN + BESIDE <= free

    def has_room(self, free: int) -> bool:
        """Whether the trial fits into `free` bytes even if freed memory is kept (`training.machine.keep_freed_memory`)."""
        return self.estimate.peak * HEAP_GROWTH + BESIDE <= free


Try = Callable[[Preset, Plan], Trial]


def lower_precision(device: torch.device) -> ActivationType | None:
    """The 16-bit type that convolutions on `device` support efficiently; None if they support none.

    bf16 has the range of fp32; fp16, for GPUs before Ampere, needs gradient scaling. On a CPU without AVX-512, torch falls
    back on a convolution that unfolds every window, which takes several times the memory of fp32.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.backends.cpu.get_cpu_capability() == "AVX512" else None


def fit(asked: Trial, tried: Iterable[Trial], free: int, trial: Try) -> list[Trial]:
    """The changes to `asked` that were tried until one fitted into `free` bytes: the last one fits, or none does.

    After a change that fits with one crop at a time, the micro-batch of `asked` is halved until it fits with this change;
    if such a micro-batch has more than one crop, a trial with it is the last one.
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
    """The only change that a run can make after it has begun, a micro-batch of one crop; empty if `asked` has that already."""
    return [trial(asked.preset, replace(asked.plan, micro_batch=1))] if asked.plan.micro_batch > 1 else []


def changes(asked: Trial, lower: ActivationType | None, trial: Try) -> Iterator[Trial]:
    """Changes that save memory, the smallest first: one crop at a time, lower precision, recomputing; then a lighter network.

    Each change is added to the earlier ones that saved memory. The lighter network starts anew, with one crop at a time,
    and is followed by lower precision and recomputing where `asked` does not have them.
    """
    steps: list[Callable[[Plan], Plan]] = [lambda plan: replace(plan, recompute=True)]
    if lower is not None:
        steps.insert(0, lambda plan: replace(plan, precision=lower))
    best = asked
    if smaller := one_at_a_time(asked, trial):
        [best] = smaller
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
