"""A person's own folder of images and masks.

    images/a.jpg  masks/a.png                    a share is held out for validation, by name, always the same
    train/images  train/masks  val/images  val/masks    ... or chosen by hand; test/ likewise

A mask has its photo's name and its size as a person sees it (EXIF rotation applied), and is a PNG or TIFF: indexed or
grey, its values the ids of the class list and 255 void; or in colour, its colours those of the class list.

From Label Studio: its export "Brush labels to PNG" is not of this form. It writes one black-and-white file per
brushed region, called task-7-annotation-3-by-...-tag-oak-0.png, and no photo's name appears in it. Its images can be
exported, its regions must be merged first: for each task a mask full of the background's id, then for each of its
files, in order, the id of the file's label wherever the file is not black; saved under the photo's name.
"""

from pathlib import Path

from training.data.class_list import ClassList
from training.data.holdout import hold_out
from training.data.paired import PairedReader
from training.data.reader import MissingSplit
from training.errors import InputError


def folder_reader(root: Path, split: str, classes: ClassList) -> PairedReader:
    """The pairs of one split. Raises MissingSplit, or InputError where there is nothing to split."""
    val_is_given = (root / "val" / "images").is_dir()
    if (root / split / "images").is_dir() and (split != "train" or val_is_given):
        return PairedReader(root / split / "images", root / split / "masks", classes.decode)
    base = root / "train" if (root / "train" / "images").is_dir() else root
    if split not in ("train", "val") or not (base / "images").is_dir():
        raise MissingSplit(
            f"{root} holds no images of split {split!r}: expected images/ and masks/, or {split}/images/ and {split}/masks/"
        )
    everything = PairedReader(base / "images", base / "masks", classes.decode)
    if split == "train" and val_is_given:
        return everything
    stems = everything.stems()
    if len(stems) < 2:
        raise InputError(f"{base / 'images'} holds {len(stems)} images; two are needed to train on one and validate on another")
    train, val = hold_out(stems)
    return PairedReader(base / "images", base / "masks", classes.decode, train if split == "train" else val)
