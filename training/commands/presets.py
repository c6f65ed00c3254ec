"""List the recipes."""

import argparse

from training.presets import GROUPS
from training.wording import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: the command has none."""


def run(arguments: argparse.Namespace) -> int:
    """Print one line per preset, grouped by purpose."""
    for purpose, presets in GROUPS.items():
        print(f"for {purpose}:")
        for preset in presets:
            print(f"  {preset.name}: {preset.architecture} on {preset.dataset}, {counted(preset.epochs, 'epoch')}")
    return 0
