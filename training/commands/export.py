"""Write NAME.onnx with its card, and NAME.safetensors (fp16) for fine-tuning.

Refuses if the exported graph does not give the network's scores. The card states what was measured, no more.
"""

import argparse
from pathlib import Path

from training.commands.arguments import add_data_arguments, open_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A trained model, and what to measure it on."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder (its best weights) or .safetensors")
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="folder to write to (default: models)")
    parser.add_argument("--name", help="of the model (default: the preset's)")
    add_data_arguments(parser, required=False)
    parser.add_argument("--split", default="val", help="split that the card's metrics are measured on (default: val)")
    parser.add_argument("--camvid", type=Path, metavar="DIR", help="CamVid, to measure false animals on its val frames")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], metavar="FILE", help="photos with none of the classes")


def run(given: argparse.Namespace) -> int:
    """Export, and print the card."""
    from training.card import Measurements
    from training.checkpoint import load_checkpoint
    from training.export import export

    checkpoint = load_checkpoint(given.model)
    dataset = checkpoint.preset.dataset
    reader = open_data(dataset, given).evaluation(given.data, given.split) if given.data is not None else None
    where = Measurements(reader, given.split, given.camvid, tuple(given.photos))
    card = export(checkpoint, given.out, given.name or checkpoint.preset.name, where)
    print(card.model_dump_json(indent=2))
    return 0
