"""The data sets a preset can name: their classes, their terms, and how to read them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.contract import ClassInfo
from service.geometry import upright_rgb
from training.data.voc import VocReader


class Reader(Protocol):
    """One split of a labelled data set."""

    def stems(self) -> list[str]:
        """Names of the images, in a fixed order."""
        ...

    def image(self, stem: str) -> Image.Image:
        """The photo as stored, not yet turned upright."""
        ...

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: class ids, and `service.metrics.VOID`."""
        ...


def read_upright(reader: Reader, stem: str) -> Image.Image:
    """One image of a split, RGB, as a person sees it."""
    with reader.image(stem) as stored:
        return upright_rgb(stored)[0]


@dataclass(frozen=True)
class Dataset:
    """What a preset and a model card need to know of a data set."""

    description: str
    licence: str
    limits: tuple[str, ...]  # what a model trained on it cannot be expected to do, one sentence each
    classes: tuple[ClassInfo, ...]
    train: Callable[[Path], Reader]  # from the data set's folder
    evaluation: Callable[[Path, str], Reader]  # from the data set's folder and a split's name


def class_table(*entries: tuple[str, str]) -> tuple[ClassInfo, ...]:
    """Classes from (name, #rrggbb) in id order."""
    return tuple(ClassInfo(id=number, name=name, color=color) for number, (name, color) in enumerate(entries))


# VOC ids of background, cat, cow, dog, horse, sheep, person: the animals classes in their own order.
_ANIMAL_IDS = (0, 8, 10, 12, 13, 17, 15)

DATASETS = {
    "voc-animals": Dataset(
        description="PASCAL VOC 2012 + SBD images that hold cats, cows, dogs, horses or sheep: 3,131 train, 228 val",
        licence=(
            "Weights: Apache-2.0. Trained on Flickr photos that remain under their owners' terms, used as the "
            "research community uses PASCAL VOC and SBD."
        ),
        limits=(
            "Every training photo holds at least one animal, and people appear in them beside animals: on photos "
            "of other things it may see animals or miss people; the empty scenes above say how often.",
            "Animals of other kinds (birds, wild animals) are not classes, and may get the name of one.",
            "The photos are holiday and family pictures of about 500 px: expect less on drawings, "
            "infrared, aerial or microscope images.",
            "Outlines follow scores at an eighth of the working size: thin legs, tails and ropes are rounded off.",
        ),
        # Okabe & Ito's palette: told apart on a photo, and by colour-blind people. VOC's own are too dark for either.
        classes=class_table(
            ("background", "#000000"),
            ("cat", "#e69f00"),
            ("cow", "#56b4e9"),
            ("dog", "#009e73"),
            ("horse", "#f0e442"),
            ("sheep", "#cc79a7"),
            ("person", "#d55e00"),
        ),
        train=lambda root: VocReader(root, "train", _ANIMAL_IDS, others_are_void=False),
        evaluation=lambda root, split: VocReader(root, split, _ANIMAL_IDS, others_are_void=True),
    ),
}
