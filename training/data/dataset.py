"""Description of a data set: its classes, its licence, and how to read it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.contract import ClassInfo
from training.data.reader import Reader


@dataclass(frozen=True)
class DataCard:
    """What a model card states about a data set; every checkpoint carries a copy."""

    name: str
    description: str
    licence: str
    limits: tuple[str, ...]  # what a model trained on it cannot be expected to do, one sentence each
    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True)
class Dataset(DataCard):
    """A data set that can be read."""

    train: Callable[[Path], Reader]  # from the data set's folder
    evaluation: Callable[[Path, str], Reader]  # from the data set's folder and a split's name

    @property
    def card(self) -> DataCard:
        """The description without the readers."""
        return DataCard(self.name, self.description, self.licence, self.limits, self.classes)


def class_table(*entries: tuple[str, str]) -> tuple[ClassInfo, ...]:
    """Classes from (name, #rrggbb) in id order."""
    return tuple(ClassInfo(id=number, name=name, color=color) for number, (name, color) in enumerate(entries))
