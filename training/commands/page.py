"""Write a model's card as a page: NAME.md and its pictures, beside NAME.onnx."""

import argparse
from pathlib import Path

from training.commands.arguments import add_data_arguments, open_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model file and its data."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="the .onnx file")
    add_data_arguments(parser)
    parser.add_argument("--split", default="val", help="split that the pictures come from (default: val)")


def run(given: argparse.Namespace) -> int:
    """Write the page, and print where."""
    from training.card_page import write_page
    from training.onnx_model import load_onnx
    from training.presets import find_preset

    model = load_onnx(given.model)
    reader = open_data(find_preset(model.card.preset).dataset, given).evaluation(given.data, given.split)
    print(write_page(given.model, model, reader, given.split))
    return 0
