"""Train a preset; run again after a kill, it continues to the same result."""

import argparse
import dataclasses
from pathlib import Path

from training.commands.arguments import add_data_arguments, at_least_one, open_data
from training.presets import PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A preset, its data, and where to record the run."""
    parser.add_argument("preset", metavar="PRESET", choices=PRESETS, help="one that `presets` lists")
    add_data_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder to create or to continue")
    parser.add_argument(
        "--init", type=Path, metavar="FILE", help="weights to start from (default: those that the preset names)"
    )
    parser.add_argument("--epochs", type=at_least_one, metavar="N", help="instead of the preset's number")


def run(given: argparse.Namespace) -> int:
    """Train, alone or with the other processes that torchrun started."""
    from training.parallel import world
    from training.train import train

    preset = PRESETS[given.preset]
    if given.epochs is not None:
        preset = dataclasses.replace(preset, epochs=given.epochs)
    with world() as here:
        best = train(preset, open_data(preset.dataset, given), given.data, given.out, init=given.init, world=here)
    if here.leads:
        print(f"best val mean IoU {best:.4f}, weights in {given.out / 'best.safetensors'}")
    return 0
