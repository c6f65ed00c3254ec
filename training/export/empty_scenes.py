"""Measures false positives: the classes that a model finds in images known not to hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.contract import ClassInfo, EmptyScene
from service.geometry import upright_rgb
from training.data.paired import IMAGE_SUFFIXES, is_read
from training.data.reader import naming, open_photo, require_utf8
from training.errors import InputError
from training.evaluate import Segmenter
from training.wording import counted


@dataclass(frozen=True)
class Scenes:
    """Images that are known to hold no class but those in `may_hold`."""

    description: str  # which images, and how many
    photos: tuple[Path, ...]
    may_hold: frozenset[str]  # class names; no image holds any other


def find_scenes(may_hold: Sequence[str], paths: Sequence[Path]) -> Scenes:
    """The images in `paths`, which are files or folders. Raises InputError if there are none, or if a path does not exist."""
    if not paths:
        raise InputError("no images to look for nothing in: give files, or folders of them")
    photos, names = list[Path](), list[str]()
    for path in paths:
        require_utf8(path.absolute())  # the card names it
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if is_read(file, IMAGE_SUFFIXES))
            if not found:
                raise InputError(f"{path} holds no images to look for nothing in")
            photos += found
            names.append(f"{path.absolute().parent.name}/{path.absolute().name}")
        elif path.is_file():
            photos.append(path)
            names.append(path.stem)
        else:
            raise InputError(f"no such file or folder: {path}")
    return Scenes(f"{counted(len(photos), 'image')}: {', '.join(names)}", tuple(photos), frozenset(may_hold))


def measure_scenes(segmenter: Segmenter, classes: Sequence[ClassInfo], scenes: Scenes) -> EmptyScene:
    """Share of the pixels that are labelled as a class that no image holds, 0..1.

    Raises InputError if `may_hold` names an unknown class, and for an image that cannot be read.
    """
    if unknown := scenes.may_hold - {entry.name for entry in classes}:
        raise InputError(
            f"{', '.join(sorted(unknown))}: no class of the model, which knows {', '.join(c.name for c in classes)}"
        )
    absent = [entry for entry in classes if entry.name not in scenes.may_hold]
    wrong = pixels = 0
    worst = 0.0
    for photo in scenes.photos:
        with naming(str(photo)), open_photo(photo.read_bytes()) as stored:
            image, _ = upright_rgb(stored)
        labels = segmenter.labels(image)
        found = int(np.isin(labels, [entry.id for entry in absent]).sum())
        wrong, pixels, worst = wrong + found, pixels + labels.size, max(worst, found / labels.size)
    return EmptyScene(
        images=scenes.description,
        classes=[entry.name for entry in absent],
        fraction=wrong / pixels,
        worst_image_fraction=worst,
    )
