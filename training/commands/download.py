"""Fetch a published data set: VOC 2012, SBD or CamVid.

A broken download is continued when the command is given again. What arrives is checked before it is put in place.
"""

import argparse
from pathlib import Path

from training.data.datasets import DATASETS
from training.data.download import SOURCES, download


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: the data set, and the folder to put it in."""
    parser.add_argument("name", metavar="NAME", choices=SOURCES, help=f"one of: {', '.join(SOURCES)}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the data set")


def run(arguments: argparse.Namespace) -> int:
    """Print the data set's licence and download it. Raises InputError as `training.data.download.download` does."""
    name, out = arguments.name, arguments.out
    print(DATASETS[name].licence, flush=True)
    download(name, out)
    print(f"{name} is in {out}; look at it: python -m training check-data --dataset {name} --data {out}")
    return 0
