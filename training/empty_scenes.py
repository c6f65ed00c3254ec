"""What a model finds where it should find nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from service.contract import ClassInfo, EmptyScene
from service.geometry import upright_rgb
from training.errors import InputError
from training.evaluate import Segmenter

BACKGROUND, PERSON = "background", "person"


def measure(segmenter: Segmenter, description: str, photos: Sequence[Path], absent: Sequence[ClassInfo]) -> EmptyScene:
    """Share of the photos' pixels that get one of the classes that none of them holds.

    Raises InputError without photos, OSError for a file that cannot be read.
    """
    if not photos:
        raise InputError(f"no photos to look for nothing in: {description}")
    wrong = pixels = 0
    worst = 0.0
    for photo in photos:
        with Image.open(photo) as stored:
            labels = segmenter.labels(upright_rgb(stored)[0])
        found = int(np.isin(labels, [entry.id for entry in absent]).sum())
        wrong, pixels, worst = wrong + found, pixels + labels.size, max(worst, found / labels.size)
    return EmptyScene(
        images=description,
        classes=[entry.name for entry in absent],
        fraction=wrong / pixels,
        worst_image_fraction=worst,
    )


def street_frames(segmenter: Segmenter, classes: Sequence[ClassInfo], camvid: Path) -> EmptyScene:
    """On CamVid's val frames: streets with people and without animals."""
    frames = sorted((camvid / "val").iterdir())
    absent = [entry for entry in classes if entry.name not in (BACKGROUND, PERSON)]
    return measure(segmenter, f"CamVid val, {len(frames)} street frames", frames, absent)


def plain_photos(segmenter: Segmenter, classes: Sequence[ClassInfo], photos: Sequence[Path]) -> EmptyScene:
    """On photos that hold none of the classes."""
    names = ", ".join(photo.stem for photo in photos)
    absent = [entry for entry in classes if entry.name != BACKGROUND]
    return measure(segmenter, f"{len(photos)} photos without any of the classes: {names}", photos, absent)
