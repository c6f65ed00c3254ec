"""Learn one batch by heart: a check of labels, rates and network that takes minutes, before a run that takes hours."""

import argparse

from training.commands.arguments import add_data_arguments, at_least_one, open_data
from training.overfit import LEARNED, overfit
from training.presets import PRESETS
from training.start import find_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: a preset, its data, its first weights, and the number of steps."""
    parser.add_argument("preset", metavar="PRESET", choices=PRESETS, help="one that `presets` lists")
    add_data_arguments(parser)
    parser.add_argument(
        "--init", metavar="FILE", help="weights to start from, a path or URL (default: those that the preset names)"
    )
    parser.add_argument("--steps", type=at_least_one, default=100, metavar="N", help="times the batch is shown (default: 100)")


def run(given: argparse.Namespace) -> int:
    """Print how well the batch was learned; returns 0 if it was, 1 if not."""
    preset = PRESETS[given.preset]
    result = overfit(
        preset, open_data(preset.dataset, given), given.data, find_weights(given.init) if given.init else None, given.steps
    )
    print(f"loss {result.first_loss:.4f} -> {result.last_loss:.4f}, {result.accuracy:.1%} of the batch's pixels right")
    if not result.learned:
        print(
            f"not learned: at least {LEARNED:.0%} were expected; look at the labels with check-data, or at the learning rates"
        )
    return 0 if result.learned else 1
