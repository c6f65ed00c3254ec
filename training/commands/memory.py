"""Estimate what training takes of the memory, and what each change saves; it needs no data and computes nothing.

Estimates are for this machine's kind of device. `train` prints its own before the first step.
"""

import argparse
from dataclasses import replace

from service.geometry import padded_size
from training.commands.arguments import add_plan_arguments, add_preset_argument, at_least_one, chosen_plan
from training.data.augment import COMMON_STRIDE
from training.data.datasets import DATASETS
from training.errors import InputError
from training.machine import default_device
from training.memory.estimate import estimate
from training.memory.fit import Trial, changes, lower_precision
from training.memory.free import free_memory
from training.memory.text import estimate_text, size_text, trials_text
from training.plan import Plan
from training.presets import PRESETS
from training.presets.preset import Preset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: a preset, and the size of the images, batch and classes that it would be trained on."""
    add_preset_argument(parser)
    parser.add_argument("--size", type=_size, metavar="WxH", help="pixels that a step sees (default: the preset's crop)")
    parser.add_argument("--batch", type=at_least_one, metavar="N", help="images in a step (default: the preset's)")
    parser.add_argument(
        "--classes", type=at_least_one, metavar="N", help="number of classes (default: the preset's data set's)"
    )
    add_plan_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the estimate for the given options and a line for each change that may save memory.

    Raises InputError if neither the preset nor the options fix the image size and the number of classes.
    """
    preset = PRESETS[arguments.preset]
    preset = replace(preset, batch=arguments.batch or preset.batch)
    crop = arguments.size or preset.augmentation.crop
    if crop is None:
        raise InputError(f"{preset.name} learns from whole images: say how large the largest is, with --size")
    largest = crop if preset.long_side is None else (preset.long_side, preset.long_side)
    classes, device = arguments.classes or _known_classes(preset), default_device()

    def trial(preset: Preset, plan: Plan) -> Trial:
        return Trial(preset, plan, estimate(preset, plan, classes, crop, largest, device))

    asked = trial(preset, chosen_plan(arguments, preset.batch))
    print(estimate_text(asked, crop))
    print(f"free on this {device.type}: {size_text(free_memory(device))}")
    if trials := list(changes(asked, lower_precision(device), trial)):
        print(trials_text(trials))
    return 0


def _known_classes(preset: Preset) -> int:
    if preset.dataset not in DATASETS:
        raise InputError(f"{preset.name} is for data of your own: say how many classes it has, with --classes")
    return len(DATASETS[preset.dataset].classes)


def _size(text: str) -> tuple[int, int]:
    """Parse WIDTHxHEIGHT, pixels, for argparse; both are padded as whole images are."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 480x360")
    return padded_size(int(width), int(height), COMMON_STRIDE)
