"""The trainer's commands with no more memory than a given amount beside what the process has.

The limit is the system's own, on the address space (`ulimit -v`).
"""

import dataclasses
import resource
from pathlib import Path

import torch

from tests.tiny_network import ARCHITECTURE, DATASET, PRESET, tiny_fcn
from training.__main__ import main
from training.data.augment import Augmentation
from training.learner import Learner
from training.losses import SegmentationLoss
from training.networks import NETWORKS
from training.parallel import World
from training.plan import Plan
from training.presets import PRESETS

# A megapixel a crop: a gigabyte for its batch, a seventh of that for one crop.
LARGE = dataclasses.replace(PRESET, name="shapes-large", augmentation=Augmentation(crop=(1024, 1024)), batch=8, epochs=1)


def limit(megabytes: int) -> None:
    """Take away all other memory."""
    size = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize:"))
    resource.setrlimit(resource.RLIMIT_AS, (int(size.split()[1]) * 1024 + megabytes * 10**6, resource.RLIM_INFINITY))


def run(arguments: list[str]) -> int:
    """`MEGABYTES train ...`: one command, on one thread."""
    torch.set_num_threads(1)
    NETWORKS[ARCHITECTURE] = tiny_fcn
    PRESETS[LARGE.name] = LARGE
    first = Learner.create(PRESET, DATASET.classes, None, SegmentationLoss(None), Plan(1), World.alone())
    first.learn(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 64, 64, dtype=torch.uint8), 1)
    megabytes, *command = arguments
    limit(int(megabytes))
    return main(command)
