"""Measure a model on a labelled split."""

import argparse
import json
from contextlib import suppress
from pathlib import Path

from service.metrics import DEFINITION
from training.boundary import BOUNDARY_DEFINITION
from training.checkpoint import load_checkpoint
from training.commands.arguments import add_data_arguments, open_data, require_classes
from training.evaluate import AugmentedSegmenter, Labeller, torch_segmenter
from training.export.card import split_metrics
from training.figures import none_if_nan
from training.machine import default_device
from training.onnx_model import load_onnx
from training.presets import find_preset
from training.survey import survey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: a model, the data, and test-time augmentation."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder (its best weights), .onnx or .safetensors")
    add_data_arguments(parser)
    parser.add_argument("--split", default="val", help="name of the split (default: val)")
    parser.add_argument("--mirrored", action="store_true", help="average over the image and its mirror image")
    parser.add_argument(
        "--scales", type=_positive, nargs="+", default=[1.0], metavar="X", help="average over these scales (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics as JSON."""
    if arguments.model.suffix == ".onnx":
        model = load_onnx(arguments.model)
        segmenter, classes, data = model.segmenter, model.card.classes, find_preset(model.card.preset).dataset
    else:
        checkpoint = load_checkpoint(arguments.model)
        segmenter = torch_segmenter(checkpoint.network.to(default_device()), checkpoint.preset)
        classes, data = checkpoint.data.classes, checkpoint.data.name
    dataset = open_data(data, arguments)
    require_classes(dataset, classes, arguments)
    reader = dataset.evaluation(arguments.data, arguments.split)
    labeller: Labeller = segmenter
    definition = DEFINITION
    if arguments.mirrored or arguments.scales != [1.0]:
        labeller = AugmentedSegmenter(segmenter, arguments.mirrored, tuple(arguments.scales))
        often = f"the scales {arguments.scales}{' and mirror images' if arguments.mirrored else ''}"
        definition += f" Not as served: averaged over {often}."
    found = survey(labeller, reader, len(classes))
    metrics = split_metrics(found.confusion, classes, len(reader.stems()), arguments.split)
    outlines = map(none_if_nan, found.boundary.per_class.tolist())
    told = {
        **metrics.model_dump(),
        "definition": definition,
        "mean_boundary_f": none_if_nan(found.boundary.mean),
        "boundary_f": {entry.name: score for entry, score in zip(classes, outlines, strict=True)},
        "boundary_definition": BOUNDARY_DEFINITION,
    }
    print(json.dumps(told, indent=2))
    return 0


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(text)) < 10:
            return value
    raise argparse.ArgumentTypeError(f"must be a number above 0 and below 10, not {text!r}")
