"""Writes the pictures of a finished run."""

from collections.abc import Sequence
from pathlib import Path

from service.contract import ClassInfo
from training.data.reader import Reader
from training.evaluate import Segmenter
from training.files import write_atomically
from training.pictures.bars import iou_bars
from training.pictures.confusion import confusion_picture
from training.pictures.panel import encoded, panel
from training.survey import Survey, examine

EXTREMES = 8  # images in each panel


def write_gallery(folder: Path, found: Survey, segmenter: Segmenter, reader: Reader, classes: Sequence[ClassInfo]) -> None:
    """Write confusion.png, iou.png, worst.png and best.png: the results `found` on the split that `reader` reads.

    The panels worst and best show the images with the lowest and the highest mean IoU, the most extreme one first.
    """
    names = [entry.name for entry in classes]
    write_atomically(folder / "confusion.png", confusion_picture(found.confusion, names))
    write_atomically(folder / "iou.png", iou_bars({"IoU": found.confusion.jaccard}, names))
    for name, stems in (("worst", found.ranked[:EXTREMES]), ("best", found.ranked[::-1][:EXTREMES])):
        examples = (examine(segmenter, reader, stem, len(classes)) for stem in stems)
        write_atomically(folder / f"{name}.png", encoded(panel(examples, classes), "PNG"))
