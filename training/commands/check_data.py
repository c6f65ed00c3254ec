"""Read every pair of a data set before training, and tell all that is wrong with it.

Missing partners, unreadable files, sizes that differ, values that are no class, absent classes, pictures that are in two
splits. Ends with 1 if there are errors.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from training.commands.arguments import add_data_arguments, open_data
from training.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from training.data.check import Findings
    from training.data.dataset import Dataset

SAMPLES = 8  # pairs of each split in the panel
NAME_LENGTH = 40  # characters of a file's name that fit above its pictures
FORMS: dict[str, Literal["JPEG", "PNG"]] = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data, what it is, and where to show some of it."""
    add_data_arguments(parser)
    parser.add_argument("--dataset", default="folder", metavar="NAME", help="its name, or folder or cvat (default: folder)")
    parser.add_argument("--panel", type=Path, metavar="FILE", help="picture of some pairs to write, .jpg or .png")


def run(given: argparse.Namespace) -> int:
    """Print the findings and write the panel; 1 if there are errors, 0 if not. Raises InputError."""
    from training.data.check import check
    from training.pictures.panel import encoded
    from training.run_folder import write_atomically

    form = FORMS.get(given.panel.suffix.lower()) if given.panel else None
    if given.panel and form is None:
        raise InputError(f"--panel {given.panel}: expected a name that ends in .jpg or .png")
    dataset = open_data(given.dataset, given)
    findings = check(dataset, given.data)
    print(f"{dataset.description}\n\n{findings.text()}")
    if form is not None and any(split.stems for split in findings.splits):
        write_atomically(given.panel, encoded(data_panel(dataset, given.data, findings), form))
    return 1 if findings.errors else 0


def data_panel(dataset: "Dataset", root: Path, findings: "Findings") -> "Image.Image":
    """SAMPLES pairs of each split at even steps, each as image | labels, above a legend. White is void."""
    from training.data.check import TRAIN
    from training.data.reader import read_pair
    from training.pictures.panel import contact_sheet, overlay

    rows = []
    for split in findings.splits:
        reader = dataset.train(root) if split.name == TRAIN else dataset.evaluation(root, split.name)
        for stem in at_even_steps(split.stems, SAMPLES):
            image, labels = read_pair(reader, stem)
            name = stem if len(stem) <= NAME_LENGTH else f"...{stem[-NAME_LENGTH:]}"
            rows.append((f"{split.name}  {name}", (image, overlay(image, labels, dataset.classes))))
    return contact_sheet(rows, dataset.classes, columns=3)


def at_even_steps(stems: Sequence[str], count: int) -> list[str]:
    """Up to `count` of the stems, the first and the last among them."""
    step = max(1.0, (len(stems) - 1) / (count - 1))
    return [stems[round(number * step)] for number in range(min(count, len(stems)))]
