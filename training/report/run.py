"""Reads runs for the report, from their folders or from the files kept of them: config.json, metrics.csv, record.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import InputError
from training.report.record import Record, read_record
from training.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """One run of a report, a line in each of its tables."""

    folder: Path
    label: str  # unique among the runs
    record: Record
    rows: Sequence[Mapping[str, str]]  # of the metrics table
    settings: Mapping[str, str]  # the run's configuration: values by dotted names


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in `folders`, labelled by their titles, and also by their folders where titles are the same.

    Raises InputError if a folder holds no record of a finished run, if two were not measured on the same
    images, or if one is given twice.
    """
    if len(set(folders)) < len(folders):
        raise InputError("a run is given twice")
    records = [read_record(folder) for folder in folders]
    titles = [record.title for record in records]
    for folder, record in zip(folders[1:], records[1:], strict=True):
        others_photos = record.photos and records[0].photos and record.photos != records[0].photos
        if others_photos or _measured_on(record) != _measured_on(records[0]):
            raise InputError(f"{folder} and {folders[0]} cannot be compared: other classes, images or definitions")
    return [
        Run(
            folder,
            record.title if titles.count(record.title) == 1 else f"{record.title} ({folder})",
            record,
            _metrics(folder, record),
            _settings(folder),
        )
        for folder, record in zip(folders, records, strict=True)
    ]


def _measured_on(record: Record) -> tuple[object, ...]:
    return record.dataset, record.classes, record.split, record.images, record.definition, record.boundary_definition


def _metrics(folder: Path, record: Record) -> list[dict[str, str]]:
    rows = RunFolder(folder).rows(record.epochs + 1)
    if not rows:
        raise InputError(f"{folder} holds no metrics.csv with an epoch in it")
    return rows


def _settings(folder: Path) -> dict[str, str]:
    """The configuration, of any version of the trainer: it is only shown."""
    file = folder / "config.json"
    try:
        return flatten(json.loads(file.read_bytes()))
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no config.json") from error
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file} is no configuration of a run") from error


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested values by dotted names, as JSON text, but strings without quotes."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat
