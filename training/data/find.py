"""Finds a data set: a known one by name, or the user's own."""

from pathlib import Path

from training.data.class_list import read_class_list
from training.data.cvat import cvat_classes, cvat_reader, unlabelled
from training.data.dataset import Dataset
from training.data.datasets import DATASETS
from training.data.folder import folder_reader
from training.data.reader import require_utf8
from training.errors import InputError
from training.wording import counted

FOLDER, CVAT = OWN = "folder", "cvat"  # layouts of the user's own data
_LICENCE = "Not stated: trained on somebody's own images, whose terms the trainer was not told. Add them before you share it."
_LIMITS = (
    "It knows images like those it was trained on, and no others: another camera, place, season or light may confuse it.",
    "Its figures come from a few images of the same collection: on images taken elsewhere they will be lower.",
)


def layout(root: Path) -> str:
    """The layout of the user's own data in `root`: CVAT for an export of CVAT, else FOLDER."""
    return CVAT if root.suffix.lower() == ".zip" or (root / "labelmap.txt").exists() else FOLDER


def find_dataset(name: str, root: Path, classes: Path | None = None) -> Dataset:
    """The known data set called `name`; for "folder" and "cvat", the user's own data in `root`.

    For "folder", `root` holds images and masks, and the file `classes` lists their classes. For "cvat", `root` is an export
    of CVAT (zip or folder) that lists its own classes. Raises InputError for an unknown name, an unfit class list or
    export, and for a class list given to any data set but "folder".
    """
    if name in OWN:
        require_utf8(root.resolve())  # the data set's description names it
    if classes is not None and name != FOLDER:
        raise InputError(f"a class list goes with a plain folder of images and masks; {name!r} has its own classes")
    if name == FOLDER:
        return _folder(root, classes)
    if name == CVAT:
        return _cvat(root)
    if name not in DATASETS:
        raise InputError(f"unknown data set {name!r}; there are: {', '.join((*DATASETS, FOLDER, CVAT))}")
    return DATASETS[name]


def _folder(root: Path, classes: Path | None) -> Dataset:
    if layout(root) == CVAT:
        raise InputError(f"{root} looks like an export of CVAT: read it as data set {CVAT!r}")
    if not root.is_dir():
        raise InputError(f"{root} is no folder")
    if classes is None:
        raise InputError("a plain folder of images and masks needs a class list (--classes): a text file, one class per line")
    given = read_class_list(classes)
    return Dataset(
        name=FOLDER,
        description=f"images and masks in folder {root.resolve().name}",
        licence=_LICENCE,
        limits=_LIMITS,
        classes=given.classes,
        train=lambda root: folder_reader(root, "train", given),
        evaluation=lambda root, split: folder_reader(root, split, given),
    )


def _cvat(root: Path) -> Dataset:
    given = cvat_classes(root)
    left_out = unlabelled(root)
    return Dataset(
        name=CVAT,
        description=f"exported from CVAT, {root.name}"
        + (f"; {counted(left_out, 'image')} without labels left out" if left_out else ""),
        licence=_LICENCE,
        limits=_LIMITS,
        classes=given.classes,
        train=lambda root: cvat_reader(root, "train", given),
        evaluation=lambda root, split: cvat_reader(root, split, given),
    )
