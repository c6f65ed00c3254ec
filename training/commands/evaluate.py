"""Measure a model on a labelled split."""

import argparse
from pathlib import Path

from training.commands.arguments import add_data_arguments, open_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model and its data."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder (its best weights), .onnx or .safetensors")
    add_data_arguments(parser)
    parser.add_argument("--split", default="val", help="name of the split (default: val)")


def run(given: argparse.Namespace) -> int:
    """Print the metrics as JSON."""
    from training.card import measure_split
    from training.checkpoint import load_checkpoint
    from training.evaluate import torch_segmenter
    from training.onnx_model import load_onnx
    from training.presets import find_preset

    if given.model.suffix == ".onnx":
        model = load_onnx(given.model)
        segmenter, classes, preset = model.segmenter, model.card.classes, find_preset(model.card.preset)
    else:
        checkpoint = load_checkpoint(given.model)
        segmenter = torch_segmenter(checkpoint.network, checkpoint.preset)
        classes, preset = checkpoint.data.classes, checkpoint.preset
    reader = open_data(preset.dataset, given).evaluation(given.data, given.split)
    print(measure_split(segmenter, classes, reader, given.split).model_dump_json(indent=2))
    return 0
