"""The trainer's commands: `python -m training --help`."""

import argparse
import dataclasses
import sys
from pathlib import Path

from training.presets import PRESETS, find_preset

USER_ERROR, GATE_REFUSED = 2, 1  # exit codes


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. What a person can mend is told in one line on standard error."""
    given = parser().parse_args(arguments)

    from training.errors import InputError
    from training.parity import ParityError

    try:
        given.run(given)
    except InputError as error:
        return _fail(str(error), USER_ERROR)
    except OSError as error:
        return _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error), USER_ERROR)
    except ParityError as error:
        return _fail(str(error), GATE_REFUSED)
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m training", description="Train, measure and export segmentation models.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("presets", help="list the recipes", description="List the recipes.")
    command.set_defaults(run=_presets)

    command = commands.add_parser(
        "train", help="train a preset", description="Train a preset; run again after a kill, it continues to the same result."
    )
    command.add_argument("preset", metavar="PRESET", choices=PRESETS, help=f"one of: {', '.join(PRESETS)}")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the preset's data set")
    command.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder to create or to continue")
    command.add_argument("--init", type=Path, metavar="FILE", help=".safetensors to start from (default: ImageNet weights)")
    command.add_argument("--epochs", type=_at_least_one, metavar="N", help="instead of the preset's number")
    command.set_defaults(run=_train)

    command = commands.add_parser("evaluate", help="measure a model", description="Measure a model on a labelled split.")
    command.add_argument("model", type=Path, metavar="MODEL", help="run folder (its best weights), .onnx or .safetensors")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the model's data set")
    command.add_argument("--split", default="val", help="name of the split (default: val)")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser(
        "export",
        help="write a model file",
        description="Write NAME.onnx with its card, and NAME.safetensors (fp16) for fine-tuning. "
        "Refuses if the exported graph does not give the network's scores. The card states what was measured, no more.",
    )
    command.add_argument("model", type=Path, metavar="MODEL", help="run folder (its best weights) or .safetensors")
    command.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="folder to write to (default: models)")
    command.add_argument("--name", help="of the model (default: the preset's)")
    command.add_argument("--data", type=Path, metavar="DIR", help="data set to measure the card's metrics on")
    command.add_argument("--split", default="val", help="its split (default: val)")
    command.add_argument("--camvid", type=Path, metavar="DIR", help="CamVid, to measure false animals on its val frames")
    command.add_argument("--photos", type=Path, nargs="+", default=[], metavar="FILE", help="photos with none of the classes")
    command.set_defaults(run=_export)

    command = commands.add_parser(
        "page", help="write a model's card as a page", description="Write NAME.md and its pictures beside NAME.onnx."
    )
    command.add_argument("model", type=Path, metavar="MODEL", help="the .onnx file")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the model's data set")
    command.add_argument("--split", default="val", help="split that the pictures come from (default: val)")
    command.set_defaults(run=_page)
    return top


def _presets(given: argparse.Namespace) -> None:
    for preset in PRESETS.values():
        print(f"{preset.name}: {preset.architecture} on {preset.dataset}, {preset.epochs} epochs")


def _train(given: argparse.Namespace) -> None:
    from training.train import train

    preset = PRESETS[given.preset]
    if given.epochs is not None:
        preset = dataclasses.replace(preset, epochs=given.epochs)
    best = train(preset, given.data, given.out, given.init)
    print(f"best val mean IoU {best:.4f}, weights in {given.out / 'best.safetensors'}")


def _evaluate(given: argparse.Namespace) -> None:
    from training.card import measure_split
    from training.checkpoint import load_checkpoint
    from training.evaluate import torch_segmenter
    from training.onnx_model import load_onnx

    if given.model.suffix == ".onnx":
        model = load_onnx(given.model)
        segmenter, preset = model.segmenter, find_preset(model.card.preset)
    else:
        checkpoint = load_checkpoint(given.model)
        segmenter, preset = torch_segmenter(checkpoint.network, checkpoint.preset), checkpoint.preset
    metrics = measure_split(segmenter, preset.dataset, given.data, given.split)
    print(metrics.model_dump_json(indent=2))


def _export(given: argparse.Namespace) -> None:
    from training.card import Measurements
    from training.checkpoint import load_checkpoint
    from training.export import export

    checkpoint = load_checkpoint(given.model)
    where = Measurements(given.data, given.split, given.camvid, tuple(given.photos))
    card = export(checkpoint, given.out, given.name or checkpoint.preset.name, where)
    print(card.model_dump_json(indent=2))


def _page(given: argparse.Namespace) -> None:
    from training.card_page import write_page

    print(write_page(given.model, given.data, given.split))


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _fail(message: str, code: int) -> int:
    print(f"python -m training: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
