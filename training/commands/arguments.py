"""Options that several commands share."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from service.contract import ClassInfo
from training.data.dataset import Dataset
from training.data.find import CVAT, FOLDER, OWN, find_dataset, layout
from training.errors import InputError
from training.plan import Plan
from training.presets import PRESETS
from training.start import find_weights


def add_data_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the options that say where the labelled images are and which data set they form."""
    parser.add_argument(
        "--data", type=Path, required=required, metavar="DIR", help="folder (or CVAT zip) of the labelled images"
    )
    parser.add_argument("--classes", type=Path, metavar="FILE", help="class list of a plain folder of images and masks")
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="what they are: voc, sbd, camvid, ... (default: the preset's, or your own images if there is a class list or zip)",
    )


def add_preset_argument(parser: argparse.ArgumentParser, otherwise: str | None = None) -> None:
    """Add the preset; `otherwise` says what a command does that can do without one."""
    told = f" (default: {otherwise})" if otherwise else ""
    parser.add_argument(
        "preset", nargs="?" if otherwise else None, metavar="PRESET", choices=PRESETS, help=f"one that `presets` lists{told}"
    )


def add_init_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which weights to start from."""
    parser.add_argument(
        "--init", metavar="FILE", help="weights to start from, a path or URL (default: those that the preset names)"
    )


def first_weights(arguments: argparse.Namespace) -> Path | None:
    """The file that --init names, fetched if it is a URL; None without --init. Raises InputError as `find_weights` does."""
    return find_weights(arguments.init) if arguments.init else None


def open_data(name: str, arguments: argparse.Namespace) -> Dataset:
    """The data set that the options in `arguments` select; `name` is the default where they name none.

    A class list or an export of CVAT selects the user's own data. Raises InputError as `find_dataset` does.
    """
    own = arguments.classes is not None or layout(arguments.data) == CVAT
    name = arguments.dataset or (FOLDER if own else name)
    return find_dataset(layout(arguments.data) if name in OWN else name, arguments.data, arguments.classes)


def data_text(arguments: argparse.Namespace) -> str:
    """The data options as part of a command, with placeholders for the folder and the class list."""
    classes = " --classes FILE" if arguments.classes else ""
    return f"--data DIR{classes}{f' --dataset {arguments.dataset}' if arguments.dataset else ''}"


def require_classes(dataset: Dataset, classes: Sequence[ClassInfo], arguments: argparse.Namespace) -> None:
    """Raises InputError unless `dataset` has the same class names, in the same order, as the model's `classes`."""
    found, expected = ([entry.name for entry in entries] for entries in (dataset.classes, classes))
    if found != expected:
        named = f"{', '.join(found)} instead of {', '.join(expected)}"
        raise InputError(f"the classes of {arguments.data} are not those of {arguments.model}: {named}")


def folder_path(text: str) -> Path:
    """A folder that exists or can be made, for argparse: a file in its place is told before the work begins."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a folder")
    return path


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that save memory in a training step."""
    parser.add_argument(
        "--micro-batch", type=at_least_one, metavar="N", help="crops in memory at a time, of the same batch (default: all)"
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of what is kept for the backward pass"
    )
    parser.add_argument("--recompute", action="store_true", help="keep less for the backward pass and compute it anew there")


def chosen_plan(arguments: argparse.Namespace, batch: int) -> Plan:
    """The plan that the options in `arguments` select for batches of `batch` crops."""
    return Plan(min(arguments.micro_batch or batch, batch), arguments.precision, arguments.recompute)


def at_least_one(text: str) -> int:
    """Parse an integer of at least 1, for argparse."""
    with suppress(ValueError):
        if (value := int(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
