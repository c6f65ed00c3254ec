"""PASCAL VOC's layout: JPEGImages/, SegmentationClass/ (indexed PNG), ImageSets/Segmentation/<split>.txt."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.metrics import VOID

BACKGROUND_ID = 0


@dataclass(frozen=True)
class VocReader:
    """Pairs of image and label map of one split, with a choice of VOC's classes.

    `voc_ids` are the chosen VOC ids in the model's own order, background first. Any other VOC id counts
    as void in evaluation and as background in training: a sofa is learned as what it is not, but a
    model that was never told of sofas is not judged on them.
    """

    root: Path
    split: str
    voc_ids: tuple[int, ...]
    others_are_void: bool

    def stems(self) -> list[str]:
        """Ids of the split's images, in the list's order. Raises FileNotFoundError if there is no such list."""
        return (self.root / "ImageSets" / "Segmentation" / f"{self.split}.txt").read_text().split()

    def image_path(self, stem: str) -> Path:
        return self.root / "JPEGImages" / f"{stem}.jpg"

    def image(self, stem: str) -> Image.Image:
        """The photo as stored, not yet turned upright."""
        return Image.open(self.image_path(stem))

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: the model's class ids, and VOID."""
        with Image.open(self.root / "SegmentationClass" / f"{stem}.png") as mask:
            result: NDArray[np.uint8] = self._table()[np.asarray(mask)]
        return result

    def _table(self) -> NDArray[np.uint8]:
        table = np.full(256, VOID if self.others_are_void else BACKGROUND_ID, np.uint8)
        table[VOID] = VOID
        table[list(self.voc_ids)] = np.arange(len(self.voc_ids))
        return table
