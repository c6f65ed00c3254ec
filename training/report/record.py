"""The record of a run, for comparisons: `record.json`, which is kept even when the weights are not."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service.metrics import ConfusionMatrix
from training.errors import InputError
from training.files import write_atomically

FILE = "record.json"


@dataclass(frozen=True)
class Record:
    """Setup and cost of a run, and the results of its best epoch on a labelled split."""

    preset: str  # name
    title: str  # for people: "FCN-16s from VGG-16 weights"
    architecture: str
    dataset: str  # description
    classes: tuple[str, ...]  # names in id order
    parameters: int
    gmac: float  # 10^9 multiply-accumulates for one 480x352 image
    epochs: int  # finished
    crop: tuple[int, int] | None  # width, height in pixels; None: whole images
    batch: int  # crops a step
    long_side: int | None  # larger images are shrunk to this for the network; None: never
    device: str  # GPU, or processor and its vector instructions: times on different devices are not comparable
    threads: int  # on the CPU, per process
    seconds: float  # of training, the sum over all resumes
    peak_memory: int  # bytes during training
    peak_memory_method: str  # how the peak was measured
    best_epoch: int  # counted from 1; the figures below are for this epoch
    split: str
    images: int
    confusion: tuple[tuple[int, ...], ...]  # pixels; rows are the true classes
    definition: str  # of the figures derived from the confusion matrix
    boundary_f: tuple[float | None, ...]  # by class, 0..1; None: no image has a true boundary of the class
    mean_boundary_f: float | None
    boundary_definition: str
    commit: str  # of the code
    torch: str  # version
    command: str
    photos: str = ""  # `training.data.fingerprint` of the photos of the split; empty: not recorded

    def __post_init__(self) -> None:
        """Raises ValueError if `confusion` or `boundary_f` do not fit the classes."""
        if not len(self.classes) == len(self.confusion) == len(self.boundary_f) == self.matrix.classes:
            raise ValueError("classes, confusion and boundary_f differ in length")

    @property
    def matrix(self) -> ConfusionMatrix:
        """The confusion matrix, from which all measures of areas are computed."""
        return ConfusionMatrix.from_counts(self.confusion)


def write_record(folder: Path, record: Record) -> None:
    """Write `record.json` into the run's folder, one line per field, so that two records can be compared line by line."""
    values = TypeAdapter(Record).dump_python(record, mode="json")
    lines = [f"  {json.dumps(entry.name)}: {json.dumps(values[entry.name])}" for entry in fields(Record)]
    write_atomically(folder / FILE, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_record(folder: Path) -> Record:
    """The record of the run in `folder`. Raises InputError if there is none, or if it is broken."""
    file = folder / FILE
    try:
        return TypeAdapter(Record).validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{folder} holds no {FILE}: no run of this trainer, or an unfinished one: give its train command again"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file} is no record of a run: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
