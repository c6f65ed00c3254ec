"""Reads PASCAL VOC's layout: JPEGImages/, SegmentationClass/ (indexed PNG), ImageSets/Segmentation/<split>.txt."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.metrics import VOID
from training.data.masks import by_value, read_mask
from training.data.reader import MissingSplit
from training.errors import InputError

BACKGROUND_ID = 0
# In id order: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/segexamples/index.html
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor"),
)


@dataclass(frozen=True)
class VocReader:
    """Pairs of image and label map of one split, with a choice of VOC's classes.

    `voc_ids` are the chosen VOC ids in the order of the model's class ids, background first. Every other VOC id counts as
    void if `others_are_void`, else as background. Training takes the others as background: a sofa is learned as none of
    the chosen classes. Evaluation takes them as void: a model that has no class for sofas is not judged on them.
    """

    root: Path
    split: str
    voc_ids: tuple[int, ...]
    others_are_void: bool

    def stems(self) -> list[str]:
        """Ids of the split's images, in the list's order. Raises MissingSplit if there is no such list."""
        return read_list(self.root / "ImageSets" / "Segmentation" / f"{self.split}.txt")

    def files(self, stem: str) -> tuple[str, str]:
        """Where the photo and its labels are stored: for messages."""
        return str(self._photo(stem)), str(self._mask(stem))

    def photo(self, stem: str) -> bytes:
        """The photo's file, as stored. Raises OSError if there is none."""
        return self._photo(stem).read_bytes()

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: the model's class ids, and VOID. Raises InputError."""
        mask = self._mask(stem)
        return by_value(read_mask(mask), str(mask), self._ids())

    def _photo(self, stem: str) -> Path:
        return self.root / "JPEGImages" / f"{stem}.jpg"

    def _mask(self, stem: str) -> Path:
        return self.root / "SegmentationClass" / f"{stem}.png"

    def _ids(self) -> dict[int, int]:
        others = dict.fromkeys(range(len(VOC_CLASSES)), VOID if self.others_are_void else BACKGROUND_ID)
        return {**others, **{voc_id: class_id for class_id, voc_id in enumerate(self.voc_ids)}, VOID: VOID}


def read_list(path: Path) -> list[str]:
    """The names in a split's list, one per line. Raises MissingSplit if there is no such file, InputError if it is no text."""
    try:
        return path.read_text("utf-8-sig").split()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingSplit(f"no list of the split's images: {path} is missing") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8") from error
