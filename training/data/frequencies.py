"""How often each class occurs in a split."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.metrics import VOID
from training.data.reader import Reader


@dataclass(frozen=True)
class Frequencies:
    """Counts over the labelled pixels of a split; void pixels count only as `void`.

    The class weights of the loss use them: see `training.losses.class_weights`.
    """

    pixels: NDArray[np.int64]  # (C,) number of pixels of each class
    pixels_where_present: NDArray[np.int64]  # (C,) labelled pixels, of any class, in the images that hold the class
    images: NDArray[np.int64]  # (C,) number of images that hold the class
    void: int  # number of void pixels


def class_frequencies(reader: Reader, classes: int) -> Frequencies:
    """Count the classes in every mask of a split. Raises InputError for a mask that cannot be read."""
    return count_classes((reader.labels(stem) for stem in reader.stems()), classes)


def count_classes(maps: Iterable[NDArray[np.uint8]], classes: int) -> Frequencies:
    """Count the classes in (H, W) uint8 label maps of ids below `classes`, and VOID."""
    pixels, pixels_where_present, images = (np.zeros(classes, np.int64) for _ in range(3))
    void = 0
    for labels in maps:
        counts = np.bincount(labels.ravel(), minlength=256)
        void += int(counts[VOID])
        found = counts[:classes]
        pixels += found
        images += found > 0
        pixels_where_present += np.where(found > 0, found.sum(), 0)
    return Frequencies(pixels, pixels_where_present, images, void)
