"""Learn one batch by heart: a check of labels, rates and network that takes minutes, before a run that takes hours."""

import argparse

from training.commands.arguments import (
    add_data_arguments,
    add_init_argument,
    add_preset_argument,
    at_least_one,
    first_weights,
    open_data,
)
from training.overfit import LEARNED, overfit
from training.presets import PRESETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: a preset, its data, its first weights, and the number of steps."""
    add_preset_argument(parser)
    add_data_arguments(parser)
    add_init_argument(parser)
    parser.add_argument("--steps", type=at_least_one, default=100, metavar="N", help="times the batch is shown (default: 100)")


def run(arguments: argparse.Namespace) -> int:
    """Print how well the batch was learned; returns 0 if it was, 1 if not."""
    preset = PRESETS[arguments.preset]
    result = overfit(preset, open_data(preset.dataset, arguments), arguments.data, first_weights(arguments), arguments.steps)
    print(f"loss {result.first_loss:.4f} -> {result.last_loss:.4f}, {result.accuracy:.1%} of the batch's pixels right")
    if not result.learned:
        print(
            f"not learned: at least {LEARNED:.0%} were expected; look at the labels with check-data, or at the learning rates"
        )
    return 0 if result.learned else 1
