"""Reads the user's own folder of images and masks.

    images/a.jpg  masks/a.png                    the same share, chosen by name, is always held out for validation
    train/images  train/masks  val/images  val/masks    validation images chosen by hand; test/ likewise

The folder val may also be called validation or valid.

A mask has the name of its photo and the photo's upright size (EXIF rotation applied). It is a PNG or TIFF: indexed or grey
with the ids of the class list as values and 255 as void, or in colour with the colours of the class list.

Label Studio's export "Brush labels to PNG" does not have this form. It writes one black-and-white file per brushed region,
called task-7-annotation-3-by-...-tag-oak-0.png, which does not contain the photo's name. The photos can be exported, but
the regions must be merged first. For each task, fill a mask with the background's id. Then, for each of the task's files in
order, set the id of the file's label wherever the file is not black. Save the mask under the photo's name.
"""

import os
from dataclasses import replace
from pathlib import Path

from training.data.class_list import ClassList
from training.data.holdout import VAL_NAMES, hold_out
from training.data.paired import PairedReader
from training.data.reader import MissingSplit
from training.errors import InputError
from training.wording import counted


def folder_reader(root: Path, split: str, classes: ClassList) -> PairedReader:
    """The pairs of one split. Raises MissingSplit, or InputError if there are too few images to hold any out.

    InputError also if both `root` and its folder train hold images, or if validation images are in two folders: none is
    passed over in silence.
    """
    bases = [base for base in (root, root / "train") if (base / "images").is_dir()]
    if len(bases) > 1:
        raise InputError(f"{root} holds images/ and train/images/: which of them count?")
    given = [root / name for name in VAL_NAMES if (root / name / "images").is_dir()]
    if len(given) > 1:
        raise InputError(f"{root} holds {' and '.join(f'{base.name}/images/' for base in given)}: which of them count?")
    if split == "val" and given:
        bases = given
    elif split not in ("train", "val"):
        bases = [root / split] if (root / split / "images").is_dir() else []
    if not bases:
        raise MissingSplit(
            f"{root} holds no images of split {split!r}: expected images/ and masks/, or {split}/images/ and {split}/masks/"
        )
    [base] = bases
    everything = PairedReader(base / "images", base / "masks", classes.decode)
    if split not in ("train", "val") or given:
        return everything
    stems = everything.stems()
    if len(stems) < 2:
        held = f"{base / 'images'} holds {counted(len(stems), 'image')}"
        told = [f"{held}; two are needed to train on one and validate on another", *everything.unread()]
        raise InputError("; ".join(told))
    train, val = hold_out(stems)
    return replace(everything, chosen=train if split == "train" else val)


def passed_over(root: Path) -> list[str]:
    """A line for each folder that looks like a split and is not read as one: somebody may miss its images."""
    told = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        # Not Path.is_dir, which raises where the folder may not be entered, such as lost+found.
        held = [f"{kind}/" for kind in ("images", "masks") if os.path.isdir(folder / kind)]  # noqa: PTH112
        if folder.name not in ("images", "masks", "train", "test", *VAL_NAMES):
            told += [f"{folder} holds {' and '.join(held)}, but is not read: splits are train, val and test"] if held else []
        elif held == ["masks/"] or (held == ["images/"] and folder.name == "test"):  # else a missing split, which is an error
            told.append(f"{folder} holds {held[0]} alone: it is not read as a split")
    return told
