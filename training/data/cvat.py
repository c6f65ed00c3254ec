"""Reads CVAT's export "Segmentation mask 1.1" with "Save images": the downloaded .zip, or the folder it was extracted to.

Files: labelmap.txt, ImageSets/Segmentation/<subset>.txt, SegmentationClass/<name>.png, JPEGImages/<name>.<any>
(https://docs.cvat.ai/docs/dataset_management/formats/format-smask). A zip is read member by member and never extracted.
The classes are the labels in labelmap.txt, in that order; pixels of a label called void are ignored. A subset called val,
validation or valid is the val split, one called test the test split; all others are train. Without a validation subset, a
share of train is held out. CVAT writes no mask for an image without annotations: such images, unlabelled or empty, are left
out.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from training.data.class_list import ClassList, build_class_list
from training.data.holdout import VAL_NAMES, hold_out
from training.data.masks import by_color, by_value, decode_mask
from training.data.paired import IMAGE_SUFFIXES
from training.data.reader import PHOTO_FORMATS, MissingSplit
from training.errors import InputError

MAX_MEMBER_BYTES = 256 << 20  # no photo or mask is larger; a member that unpacked to more would fill the memory
LABELMAP, LISTS, MASKS, IMAGES = "labelmap.txt", "ImageSets/Segmentation/", "SegmentationClass/", "JPEGImages/"
SPLITS = {**dict.fromkeys(VAL_NAMES, "val"), "test": "test"}  # subset, in lower case -> split; any other: train


@dataclass(frozen=True)
class CvatReader:
    """Pairs of one split, found by name in the export."""

    export: Path  # .zip or folder
    members: dict[str, tuple[str, str]]  # stem -> names of photo and mask in the export
    classes: ClassList

    def stems(self) -> list[str]:
        """Names of the labelled images, sorted."""
        return sorted(self.members)

    def files(self, stem: str) -> tuple[str, str]:
        """Where the photo and its labels are stored: for messages."""
        photo, mask = self.members[stem]
        return str(self.export / photo), str(self.export / mask)

    def photo(self, stem: str) -> bytes:
        """The photo's file, as stored. Raises InputError."""
        return read_member(self.export, self.members[stem][0])

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: class ids, and VOID. Raises InputError."""
        name = self.files(stem)[1]
        mask = decode_mask(read_member(self.export, self.members[stem][1]), name)
        if mask.mode in ("L", "1"):  # exported without colours: values are positions in the list of labels
            return by_value(mask, name, dict(enumerate(self.classes.painted.values())))
        return by_color(mask, name, self.classes.painted)


def cvat_reader(export: Path, split: str, classes: ClassList) -> CvatReader:
    """The labelled pairs of one split. Raises MissingSplit, or InputError if a photo or every mask is missing."""
    names = member_names(export)
    subsets = _subsets(export, names)
    if split in ("train", "val") and "val" not in subsets:
        labelled = _labelled(subsets.get("train", []), names)
        if len(labelled) == 1:
            raise InputError(f"{export} holds 1 labelled image; two are needed to train on one and validate on another")
        train, val = hold_out(labelled)
        chosen = train if split == "train" else val
    elif split in subsets:
        chosen = frozenset(_labelled(subsets[split], names))
    else:
        raise MissingSplit(f"{export} has no subset for split {split!r}: there are {', '.join(sorted(subsets))}")
    if not chosen:
        kind = MissingSplit if split == "test" else InputError  # test images may be labelled later
        raise kind(f"{export} holds no labelled image for split {split!r}: CVAT exports filled shapes and masks only")
    photos = _photos(export, names)
    missing = sorted(chosen - set(photos))
    if missing:
        other = next((name for name in sorted(names) if name.startswith(f"{IMAGES}{missing[0]}.")), None)
        if other is not None:
            raise InputError(f"{export / other} is in a format that is not read: there are {', '.join(PHOTO_FORMATS)}")
        raise InputError(f'{export} lacks the photo of {missing[0]} and {len(missing) - 1} more: export with "Save images"')
    return CvatReader(export, {stem: (photos[stem], f"{MASKS}{stem}.png") for stem in chosen}, classes)


def unlabelled(export: Path) -> int:
    """Number of images in the export without a mask. Raises InputError."""
    names = member_names(export)
    stems = [stem for subset in _subsets(export, names).values() for stem in subset]
    return len(stems) - len(_labelled(stems, names))


def cvat_classes(export: Path) -> ClassList:
    """The labels in labelmap.txt: lines of `name:red,green,blue:parts:actions`. Raises an InputError that names the line."""
    if LABELMAP not in member_names(export):
        raise InputError(f'{export} holds no {LABELMAP}: is it an export of CVAT as "Segmentation mask 1.1"?')
    entries: list[tuple[str, str | None]] = []
    for number, line in enumerate(_text(export, LABELMAP).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, color, _, _ = line.rsplit(":", 3)
            red, green, blue = bytes(int(part) for part in color.split(","))
            if not name.strip():
                raise ValueError(line)
        except ValueError as error:
            raise InputError(f"{export / LABELMAP}, line {number}: expected name:red,green,blue:parts:actions") from error
        entries.append((name.strip(), f"#{red:02x}{green:02x}{blue:02x}"))
    return build_class_list(entries, str(export / LABELMAP))


def member_names(export: Path) -> frozenset[str]:
    """Names of the files in the export, as relative POSIX paths. Raises InputError if it is neither a zip nor a folder."""
    if export.is_dir():
        paths = (path for folder in (IMAGES, MASKS, LISTS) for path in (export / folder).rglob("*"))
        names = {path.relative_to(export).as_posix() for path in paths if path.is_file()}
        return frozenset(names | ({LABELMAP} if (export / LABELMAP).is_file() else set()))
    try:
        with zipfile.ZipFile(export) as file:
            return frozenset(file.namelist())
    except (zipfile.BadZipFile, ValueError) as error:
        raise InputError(f"{export} is no readable zip file: {error}") from error


def read_member(export: Path, name: str) -> bytes:
    """Content of one file. Raises InputError if it is missing or cannot be read; in a zip, also if it is damaged or too large.

    The zip is opened anew for each read: processes that shared one open file would move each other's read position.
    """
    if export.is_dir():
        try:
            return (export / name).read_bytes()
        except OSError as error:
            raise InputError(f"{export / name} cannot be read: {error.strerror}") from error
    try:
        with zipfile.ZipFile(export) as file:
            if file.getinfo(name).file_size > MAX_MEMBER_BYTES:  # zipfile never unpacks more than this size
                raise InputError(f"{export / name} unpacks to more than {MAX_MEMBER_BYTES >> 20} MiB")
            return file.read(name)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile raises many types on damaged, encrypted and unusual members
        raise InputError(f"{export / name} cannot be unpacked: {error}") from error


def _subsets(export: Path, names: frozenset[str]) -> dict[str, list[str]]:
    """Split -> stems of its images, labelled or not. Raises InputError if no list exists, or a name leads elsewhere."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        if not name.startswith(LISTS) or not name.endswith(".txt"):
            continue
        split = SPLITS.get(PurePosixPath(name).stem.lower(), "train")
        stems = [line.strip().strip('"') for line in _text(export, name).splitlines() if line.strip()]
        for stem in stems:
            if ".." in PurePosixPath(stem).parts or PurePosixPath(stem).is_absolute():
                raise InputError(f"{export / name} lists {stem!r}, which leads out of the export")
        found.setdefault(split, []).extend(stems)
    if not found:
        raise InputError(f'{export} holds no {LISTS}*.txt: is it an export of CVAT as "Segmentation mask 1.1"?')
    return found


def _labelled(stems: list[str], names: frozenset[str]) -> list[str]:
    return [stem for stem in stems if f"{MASKS}{stem}.png" in names]


def _photos(export: Path, names: frozenset[str]) -> dict[str, str]:
    """Names of the photos in the export, by stem. Raises InputError if two have the same stem."""
    found: dict[str, str] = {}
    for name in sorted(names):
        if not name.startswith(IMAGES) or PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
            continue
        stem = name[len(IMAGES) :].rpartition(".")[0]
        if stem in found:
            raise InputError(f"{export} holds {found[stem]} and {name}: which one counts?")
        found[stem] = name
    return found


def _text(export: Path, name: str) -> str:
    try:
        return read_member(export, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{export / name} is no text in UTF-8") from error
