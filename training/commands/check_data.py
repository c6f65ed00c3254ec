"""Read every pair of a data set before training, and tell all that is wrong with it.

Missing partners, unreadable files, sizes that differ, values that are no class, absent classes, pictures that are in two
splits. Ends with 1 if there are errors.
"""

import argparse
from pathlib import Path
from typing import Literal

from training.commands.arguments import add_data_arguments, open_data
from training.data.check import check
from training.data.find import FOLDER
from training.errors import InputError
from training.files import write_atomically
from training.pictures.data_panel import data_panel
from training.pictures.panel import encoded

FORMS: dict[str, Literal["JPEG", "PNG"]] = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: the data, and the file for a picture of some pairs."""
    add_data_arguments(parser)
    parser.add_argument("--panel", type=Path, metavar="FILE", help="picture of some pairs to write, .jpg or .png")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings and write the panel; returns 1 if there are errors, else 0. Raises InputError for unfit options."""
    form = FORMS.get(arguments.panel.suffix.lower()) if arguments.panel else None
    if arguments.panel and form is None:
        raise InputError(f"--panel {arguments.panel}: expected a name that ends in .jpg or .png")
    dataset = open_data(FOLDER, arguments)
    findings = check(dataset, arguments.data)
    print(f"{dataset.description}\n\n{findings.text()}")
    if form is not None and any(split.stems for split in findings.splits):
        arguments.panel.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(arguments.panel, encoded(data_panel(dataset, arguments.data, findings), form))
    return 1 if findings.errors else 0
