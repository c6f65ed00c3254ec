"""Reads PASCAL VOC's layout: JPEGImages/, SegmentationClass/ (indexed PNG), ImageSets/Segmentation/<split>.txt."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.metrics import VOID
from training.data.listed import ListedReader
from training.data.masks import by_value, read_mask

BACKGROUND_ID = 0
# In id order: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/segexamples/index.html
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor"),
)


@dataclass(frozen=True)
class VocReader(ListedReader):
    """Pairs of image and label map of one split, with a choice of VOC's classes.

    `voc_ids` are the chosen VOC ids in the order of the model's class ids, background first. Every other VOC id counts as
    void if `others_are_void`, else as background. Training takes the others as background: a sofa is learned as none of
    the chosen classes. Evaluation takes them as void: a model that has no class for sofas is not judged on them.
    """

    LIST = "ImageSets/Segmentation/{}.txt"
    PHOTO = "JPEGImages/{}.jpg"
    LABELS = "SegmentationClass/{}.png"

    voc_ids: tuple[int, ...]
    others_are_void: bool

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: the model's class ids, and VOID. Raises InputError."""
        mask = self.labels_path(stem)
        return by_value(read_mask(mask), str(mask), self._ids())

    def _ids(self) -> dict[int, int]:
        others = dict.fromkeys(range(len(VOC_CLASSES)), VOID if self.others_are_void else BACKGROUND_ID)
        return {**others, **{voc_id: class_id for class_id, voc_id in enumerate(self.voc_ids)}, VOID: VOID}
