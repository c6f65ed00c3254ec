"""One step of the trainer against a plain torch loop of the same network: images a second, and peak memory.

The plain loop is what a tutorial would write: forward, enlarge, cross-entropy, backward, AdamW; no averaging, no record,
no recovery. Speed is measured interleaved in one process, memory in fresh processes of each side.

python -m tests.benchmarks.bench_training_step
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from service.metrics import VOID
from tests.benchmarks.table import Row, Rows, run
from training.data.datasets import DATASETS
from training.learner import Learner
from training.losses import SegmentationLoss
from training.machine import keep_freed_memory, peak_resident_memory, release_freed_memory
from training.networks import NETWORKS
from training.parallel import World
from training.plan import Plan
from training.presets.animals import LITE0

BATCH, SIZE, STEPS = 8, 320, 12
PROCESSES = 3  # of each side: where blocks come to lie in a heap that is kept differs by a tenth from one to the next
BAR = 0.95
WORLD = World(0, 1, torch.device("cpu"))  # both sides on the processor, where a step has ended when it returns
Step = Callable[[Tensor, Tensor], object]


def our_step() -> Step:
    """A step of this trainer."""
    learner = Learner.create(LITE0, DATASETS["voc-animals"].classes, None, SegmentationLoss(None), Plan(BATCH), WORLD)
    return lambda pixels, labels: learner.learn(pixels, labels, steps_per_epoch=100)


def plain_step() -> Step:
    """The tutorial's, with the same memory format."""
    network = NETWORKS[LITE0.architecture](7, LITE0.normalisation).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, weight_decay=0.05, foreach=True)

    def step(pixels: Tensor, labels: Tensor) -> None:
        scores = network(pixels.float().contiguous(memory_format=torch.channels_last))
        enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(enlarged, labels.long(), ignore_index=VOID)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


SIDES: dict[str, Callable[[], Step]] = {"ours": our_step, "plain": plain_step}


def batch() -> tuple[Tensor, Tensor]:
    """The same made-up batch each time."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    return pixels, torch.randint(0, 7, (BATCH, SIZE, SIZE), dtype=torch.uint8, generator=random)


def speed() -> dict[str, float]:
    """Median seconds of a step of each side, the two taking turns."""
    keep_freed_memory()
    steps, times = {name: create() for name, create in SIDES.items()}, {name: list[float]() for name in SIDES}
    for number in range(STEPS + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step(*batch())
            if number >= 2:  # the first ones warm up
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


HEAPS = {"given back": release_freed_memory, "kept": keep_freed_memory}  # what is freed: where memory is short, and else


def memory(name: str, heap: str) -> None:
    """Print the bytes by which three steps of one side raise this process's peak."""
    HEAPS[heap]()
    before = peak_resident_memory()
    step = SIDES[name]()
    for _ in range(3):
        step(*batch())
    print(json.dumps(peak_resident_memory() - before))


def peak(name: str, heap: str) -> float:
    """The same in megabytes, the median of fresh processes."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_training_step", name, heap]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(PROCESSES)]
    return float(statistics.median(json.loads(told.splitlines()[-1]) for told in runs)) / 1e6


def measure() -> Rows:
    """Both sides and their ratios."""
    seconds = speed()
    what = f"{LITE0.architecture}, {BATCH} crops of {SIZE}x{SIZE}, {torch.get_num_threads()} threads, {STEPS} steps each"
    for name in SIDES:
        yield Row(f"{what}: {name}", BATCH / seconds[name], "images/s")
    yield Row("speed, ours / plain", seconds["plain"] / seconds["ours"], at_least=BAR)
    for heap in HEAPS:
        peaks = {name: peak(name, heap) for name in SIDES}
        note = f"{peaks['plain']:.0f} and {peaks['ours']:.0f} MB"
        yield Row(f"peak of memory, plain / ours, freed memory {heap}", peaks["plain"] / peaks["ours"], at_least=BAR, note=note)


if __name__ == "__main__":
    memory(*sys.argv[1:]) if len(sys.argv) > 1 else run(measure)
