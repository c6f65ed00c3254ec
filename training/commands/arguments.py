"""Options that several commands share."""

import argparse
from pathlib import Path

from training.data.dataset import Dataset


def add_data_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Where the labelled images are."""
    parser.add_argument(
        "--data", type=Path, required=required, metavar="DIR", help="folder (or CVAT zip) of the labelled images"
    )
    parser.add_argument("--classes", type=Path, metavar="FILE", help="class list of a plain folder of images and masks")


def open_data(name: str, given: argparse.Namespace) -> Dataset:
    """The data set that those options give, read as the one called `name`."""
    from training.data.find import find_dataset

    return find_dataset(name, given.data, given.classes)


def at_least_one(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
