"""Write a model's files: NAME.onnx, NAME.safetensors (fp16, for fine-tuning), smaller variants, and a page with pictures.

Refuses if the graph does not give the network's scores, or if a variant loses more than 0.5 points of mean IoU. Given
an .onnx, it leaves that file as it is, and writes variants and page beside it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from service.contract import VARIANTS, ClassInfo
from training.checkpoint import load_checkpoint
from training.commands.arguments import add_data_arguments, data_text, folder_path, open_data, require_classes
from training.data.find import OWN
from training.errors import InputError
from training.export.card import Measurements
from training.export.empty_scenes import find_scenes
from training.export.files import export, export_variants, load_fp32, model_file
from training.export.page import file_row, write_page
from training.fine_tuning import model_name
from training.presets import find_preset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: a trained model, the files to write, and the images to measure it on."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder (its best weights), .safetensors or .onnx")
    parser.add_argument(
        "--out", type=folder_path, metavar="DIR", help="folder to write to (default: models; of an .onnx, its own)"
    )
    parser.add_argument(
        "--name", help="of the model (default: the preset's; of your own data, the run folder's; of an .onnx, its own)"
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[], help="smaller files to make as well")
    add_data_arguments(parser, required=False)
    parser.add_argument("--split", default="val", help="split that the figures and pictures come from (default: val)")
    parser.add_argument(
        "--empty",
        nargs="+",
        action="append",
        default=[],
        metavar=("CLASSES", "PATH"),
        help="measure what is found where nothing is: images, or folders of them, that hold none but these classes "
        "(comma-separated; 'background' for none); can be given more than once",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and print a line for each model file and the page."""
    if arguments.model.suffix == ".onnx":
        if arguments.out or arguments.name or arguments.data is None:
            raise InputError("an .onnx keeps its folder and name, and needs --data for its variants and its page")
        if arguments.empty and not arguments.variants:
            raise InputError("of an .onnx, --empty is measured on the variants that are made: name them with --variants")
        card = load_fp32(arguments.model).card
        where = _measurements(arguments, find_preset(card.preset).dataset, card.classes)
        file = arguments.model
        made = export_variants(file, where, arguments.variants) if arguments.variants else {}
    else:
        checkpoint = load_checkpoint(arguments.model)
        where = _measurements(arguments, checkpoint.data.name, checkpoint.data.classes)
        own = checkpoint.data.name in OWN
        name = arguments.name or (model_name(arguments.model) if own else checkpoint.preset.name)
        folder = arguments.out or Path("models")
        file = model_file(folder, name, "fp32")
        made = export(checkpoint, folder, name, where, arguments.variants, page=where.labelled is not None)
    for path, card in made.items():
        print(", ".join(filter(None, file_row(path, card))))
    if where.labelled is not None:
        print(write_page(file, where.labelled, where.split, data_text(arguments)))
    return 0


def _measurements(arguments: argparse.Namespace, dataset: str, classes: Sequence[ClassInfo]) -> Measurements:
    """The images that the options in `arguments` select for measuring. Raises InputError if the data have other classes."""
    scenes = tuple(find_scenes(names.split(","), [Path(path) for path in paths]) for names, *paths in arguments.empty)
    if arguments.data is None:
        return Measurements(scenes=scenes)
    data = open_data(dataset, arguments)
    require_classes(data, classes, arguments)
    labelled = data.evaluation(arguments.data, arguments.split)
    labelled.stems()  # a missing split is an error before the work begins
    return Measurements(labelled, arguments.split, scenes, data.train(arguments.data))
