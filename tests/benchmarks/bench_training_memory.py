"""What training takes of a CPU's memory: estimated before, measured after, one fresh process for each recipe.

python -m tests.benchmarks.bench_training_memory [CASE ...]

Measured is by how much a recipe raises the process's largest resident set (VmHWM, the kernel's own account): a step on a
small image, which gives the optimiser its state, a step as the recipe asks for it, and the validation of one image. The
process has taken a step of a small network before, so that code which is loaded when it is first called does not count,
and it gives freed memory back, as a run does where memory is short (`training.machine`). The images are black: the
memory is the same.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from service.geometry import padded_size
from training.data.augment import COMMON_STRIDE
from training.data.datasets import DATASETS
from training.evaluate import torch_scorer
from training.learner import Learner
from training.losses import SegmentationLoss
from training.machine import peak_resident_memory, release_freed_memory
from training.memory.estimate import Size, estimate
from training.parallel import World
from training.plan import Plan
from training.presets import PRESETS
from training.presets.preset import Preset

CLASSES = DATASETS["camvid"].classes
WHOLE = (480, 360)  # CamVid's images, for presets that learn from whole ones
SMALL = (64, 64)
MEGABYTE = 1e6
BAR = 0.15


@dataclass(frozen=True)
class Case:
    """A recipe, with the plan that carries it out."""

    preset: str
    plan: Plan


def _case(preset: str, recompute: bool = False) -> Case:
    return Case(preset, Plan(PRESETS[preset].batch, recompute=recompute))


CASES = {
    "paper-32s": _case("paper-fcn32s-vgg16"),
    "paper-16s": _case("paper-fcn16s-vgg16"),
    "light-32s": _case("students-fcn32s-vgg"),
    "light-16s": _case("students-fcn16s-from-32s"),
    "lite0-32s": _case("students-fcn32s-lite0"),
    "lite0-8s": _case("camvid-fcn8s-lite0"),
    "lite0-8s-recomputing": _case("camvid-fcn8s-lite0", recompute=True),
    "unet": _case("students-unet"),
}


def measure(case: Case) -> None:
    """Print a JSON list: width and height that a step sees, bytes estimated, bytes measured."""
    world = World(0, 1, torch.device("cpu"))
    preset = replace(PRESETS[case.preset], start="scratch")
    crop, largest = _sizes(preset)
    expected = estimate(preset, case.plan, len(CLASSES), crop, largest, world.device).peak
    small = _learner(PRESETS["camvid-fcn8s-lite0"], Plan(1), world)
    _step(small, 1, SMALL)
    del small
    release_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the largest resident set so far is now the present one
    before = peak_resident_memory()
    learner = _learner(preset, case.plan, world)
    _step(learner, 2, SMALL)
    _step(learner, preset.batch, crop)
    learner.optimizer.zero_grad()
    width, height = padded_size(*largest, learner.network.stride)
    torch_scorer(learner.averaged)(np.zeros((1, height, width, 3), np.uint8))
    print(json.dumps([*crop, expected, peak_resident_memory() - before]))


def _learner(preset: Preset, plan: Plan, world: World) -> Learner:
    return Learner.create(replace(preset, start="scratch"), CLASSES, None, SegmentationLoss(None), plan, world)


def _sizes(preset: Preset) -> tuple[Size, Size]:
    """What a step sees, and what validation does."""
    crop = preset.augmentation.crop or padded_size(*WHOLE, COMMON_STRIDE)
    return crop, WHOLE if preset.long_side is None else (preset.long_side, preset.long_side)


def _step(learner: Learner, batch: int, size: Size) -> None:
    pixels = torch.zeros(batch, 3, size[1], size[0], dtype=torch.uint8)
    learner.learn(pixels, torch.zeros(batch, size[1], size[0], dtype=torch.uint8), steps_per_epoch=100)


def main(names: list[str]) -> None:
    """A row for each case, as Markdown."""
    print("| preset | network | a step | estimated MB | measured MB | estimated / measured |")
    print("|---|---|---|---:|---:|---:|", flush=True)
    off = []
    for name in names:
        command = [sys.executable, "-m", "tests.benchmarks.bench_training_memory", "--one", name]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        width, height, expected, measured = json.loads(answer.splitlines()[-1])
        case, preset = CASES[name], PRESETS[CASES[name].preset]
        step = f"{preset.batch} of {width}x{height}{', recomputing' if case.plan.recompute else ''}"
        ratio = expected / measured
        sizes = f"{expected / MEGABYTE:,.0f} | {measured / MEGABYTE:,.0f} | {ratio:.2f}"
        print(f"| {case.preset} | {preset.architecture} | {step} | {sizes} |", flush=True)
        if abs(ratio - 1) > BAR:
            off.append(name)
    if off:
        sys.exit(f"off by more than {BAR:.0%}: {', '.join(off)}")


if __name__ == "__main__":
    measure(CASES[sys.argv[2]]) if sys.argv[1:2] == ["--one"] else main(sys.argv[1:] or list(CASES))
