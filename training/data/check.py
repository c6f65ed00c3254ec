"""Checks a data set before training: reads every pair of every split and reports all problems at once."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from service.contract import ClassInfo
from training.data.dataset import Dataset
from training.data.find import FOLDER
from training.data.folder import passed_over
from training.data.frequencies import Frequencies, count_classes
from training.data.paired import PairedReader
from training.data.reader import MissingSplit, Reader, read_pair
from training.errors import InputError
from training.wording import counted

TRAIN, VAL, TEST = "train", "val", "test"
NAMED = 5  # names listed in one message; the rest are left out


@dataclass(frozen=True)
class SplitFindings:
    """The content of a split, as far as it can be read."""

    name: str
    stems: tuple[str, ...]  # of the pairs without errors
    frequencies: Frequencies


@dataclass(frozen=True)
class Findings:
    """Result of a check. Errors must be corrected before training; what a warning describes may be intended."""

    classes: tuple[ClassInfo, ...]
    splits: tuple[SplitFindings, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def text(self) -> str:
        """Text for people: the pairs per split, a table of the classes, then warnings and errors, one per line."""
        lines = [f"{split.name}: {counted(len(split.stems), 'pair')}" for split in self.splits]
        lines += ["", *_table(self.classes, self.splits)]
        for kind, told in (("warning", self.warnings), ("error", self.errors)):
            lines += ["", *(f"{kind}: {line}" for line in told)] if told else []
        return "\n".join([*lines, "", f"{counted(len(self.errors), 'error')}, {counted(len(self.warnings), 'warning')}"])


@dataclass
class _Notes:
    """Errors, warnings and digests that are collected while the splits are read."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    places: dict[bytes, list[tuple[str, str, bytes]]] = field(default_factory=lambda: defaultdict(list))
    # digest of the pixels -> (split, stem, digest of the labels)


def check(dataset: Dataset, root: Path) -> Findings:
    """Read every pair of train, val and, if it exists, test. Unfit data become findings; nothing is raised."""
    notes, splits = _Notes(), []
    if len(dataset.classes) == 1:
        notes.warnings.append("there is one class: every pixel will get it; list background as well")
    if dataset.name == FOLDER:
        notes.warnings += passed_over(root)
    for name in (TRAIN, VAL, TEST):
        try:
            reader = dataset.train(root) if name == TRAIN else dataset.evaluation(root, name)
            stems = reader.stems()
        except MissingSplit as error:
            if name != TEST:
                notes.errors.append(str(error))
            continue
        except InputError as error:
            if str(error) not in notes.errors:  # it may be of images that train and val are chosen from
                notes.errors.append(str(error))
            continue
        if isinstance(reader, PairedReader):  # the other readers have lists of what to read
            notes.warnings += [line for line in reader.unread() if line not in notes.warnings]
        fit: list[str] = []
        frequencies = count_classes(_read(name, reader, stems, fit, notes), len(dataset.classes))
        splits.append(SplitFindings(name, tuple(fit), frequencies))
        _judge(splits[-1], len(stems), dataset.classes, notes)
    _compare(splits, notes)
    return Findings(dataset.classes, tuple(splits), tuple(notes.errors), tuple(notes.warnings))


def _read(split: str, reader: Reader, stems: list[str], fit: list[str], notes: _Notes) -> Iterator[NDArray[np.uint8]]:
    """Yield the labels of each pair without errors and add its stem to `fit`; note an error for every other pair."""
    for stem in tqdm(stems, desc=f"check {split}", unit="image", leave=False, mininterval=2):
        try:
            image, labels = read_pair(reader, stem)
        except InputError as error:
            notes.errors.append(f"{split}: {error}")
            continue
        fit.append(stem)
        pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
        notes.places[pixels].append((split, stem, hashlib.sha256(labels.tobytes()).digest()))
        yield labels


def _judge(split: SplitFindings, pairs: int, classes: tuple[ClassInfo, ...], notes: _Notes) -> None:
    """Note what is wrong with one split, which has so many `pairs`, by itself."""
    present = split.frequencies.images > 0
    if not split.stems:
        notes.errors.append(f"{split.name}: {'no pair fits' if pairs else 'there is nothing that is read as an image'}")
    elif present.sum() < 2 and len(classes) > 1:
        seen = [entry.name for entry in classes if present[entry.id]]
        held = f"all labelled pixels are {seen[0]}" if seen else "all pixels are void"
        line = f"{split.name}: {held}, {split.frequencies.void} pixels are void; in grey masks 255 is void, not a class"
        is_of_use = bool(seen) and split.name != TRAIN
        (notes.warnings if is_of_use or split.name == TEST else notes.errors).append(line)
    else:
        absent = [entry.name for entry in classes if not present[entry.id]]
        if absent:
            notes.warnings.append(f"{split.name}: no pixel of {', '.join(absent)}")


def _compare(splits: list[SplitFindings], notes: _Notes) -> None:
    """Note pictures that occur more than once, and names that different splits give to different pictures."""
    for places in notes.places.values():
        if len(places) < 2:
            continue
        where = ", ".join(f"{split}/{stem}" for split, stem, _ in places)
        told = f"the same picture{' with different labels' if len({labels for *_, labels in places}) > 1 else ''}: {where}"
        if len({split for split, *_ in places}) > 1:
            notes.errors.append(f"{told}: what was trained on proves nothing in evaluation")
        else:
            notes.warnings.append(told)
    digests = {(split, stem): pixels for pixels, places in notes.places.items() for split, stem, _ in places}
    for one, other in combinations(splits, 2):
        shared = sorted(set(one.stems) & set(other.stems))
        both = [stem for stem in shared if digests[one.name, stem] != digests[other.name, stem]]
        if both:
            named = ", ".join(both[:NAMED]) + (", ..." if len(both) > NAMED else "")
            notes.warnings.append(
                f"{one.name} and {other.name} give {counted(len(both), 'name')} to different pictures: {named}"
            )


def _table(classes: tuple[ClassInfo, ...], splits: tuple[SplitFindings, ...]) -> list[str]:
    """Share of the labelled pixels and number of images, by class and split."""
    width = max(len("class"), *(len(entry.name) for entry in classes), len("void"))
    lines = ["class".ljust(width) + "".join(f"{split.name + ' pixels':>16}{'images':>8}" for split in splits)]
    for entry in classes:
        cells = [
            f"{split.frequencies.pixels[entry.id] / max(1, split.frequencies.pixels.sum()):>16.3%}"
            f"{split.frequencies.images[entry.id]:>8}"
            for split in splits
        ]
        lines.append(entry.name.ljust(width) + "".join(cells))
    void = [split.frequencies.void / max(1, split.frequencies.void + split.frequencies.pixels.sum()) for split in splits]
    return [*lines, "void".ljust(width) + "".join(f"{share:>16.3%}{'':>8}" for share in void)]
