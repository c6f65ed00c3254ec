"""Formats estimates of memory as text."""

from collections.abc import Sequence

from training.memory.estimate import Size
from training.memory.fit import Trial


def size_text(size: int) -> str:
    """Bytes in decimal units, to three digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def trial_text(trial: Trial) -> str:
    """The network and the plan of a trial, in a few words."""
    plan = trial.plan
    words = [trial.preset.architecture, f"{plan.micro_batch} at a time", plan.precision]
    return ", ".join([*words, "recomputing"] if plan.recompute else words)


def estimate_text(trial: Trial, crop: Size) -> str:
    """A line for each part of the memory and each file."""
    estimate = trial.estimate
    rows = {
        "parameters": estimate.parameters,
        "gradients": estimate.gradients,
        "optimiser state": estimate.optimizer,
        "moving average": estimate.average,
        f"activations, {crop[0]}x{crop[1]} px": estimate.activations,
        "most at one moment of a step": estimate.step,
        "most at one moment of validation": estimate.validation,
        "file best or last": estimate.weights_file,
        "file resume": estimate.resume_file,
    }
    return "\n".join([f"memory, estimated: {trial_text(trial)}", *_lines(rows)])


def trials_text(trials: Sequence[Trial]) -> str:
    """A line for each trial, with its peak memory."""
    return "\n".join(["changes, and the most that each takes", *_lines({trial_text(t): t.estimate.peak for t in trials})])


def change_text(asked: Trial, found: Trial) -> str:
    """The options that turn `asked` into `found`."""
    words = []
    if found.preset.architecture != asked.preset.architecture:
        words.append(f"the light network {found.preset.architecture}")
    if found.plan.micro_batch != asked.plan.micro_batch:
        words.append(f"--micro-batch {found.plan.micro_batch}")
    if found.plan.precision != asked.plan.precision:
        words.append(f"--precision {found.plan.precision}")
    if found.plan.recompute != asked.plan.recompute:
        words.append("--recompute")
    return " ".join(words)


def _lines(rows: dict[str, int]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:{width}}  {size_text(size):>7}" for name, size in rows.items()]
