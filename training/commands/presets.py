"""List the recipes."""

import argparse

from training.presets import PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(given: argparse.Namespace) -> int:
    """Print a line for each preset."""
    for preset in PRESETS.values():
        print(f"{preset.name}: {preset.architecture} on {preset.dataset}, {preset.epochs} epochs")
    return 0
