"""Pictures of what a model sees: image, truth and estimate side by side."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.contract import ClassInfo
from service.metrics import VOID, ConfusionMatrix
from training.data.reader import Reader, read_upright
from training.evaluate import Segmenter

OPACITY = 0.6  # of a class's colour over the image
CELL = (190, 150)  # pixels of one picture in a panel: width, height
CAPTION = 16  # pixels of the line above the pictures
GAP = 12  # pixels between two examples
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Example:
    """One image of a split with its truth and an estimate, all at the image's own size."""

    stem: str
    image: Image.Image
    truth: NDArray[np.uint8]
    estimate: NDArray[np.uint8]
    mean_iou: float  # of this image alone, over the classes present in it; NaN if all of it is void


def examine(segmenter: Segmenter, reader: Reader, stem: str, classes: int) -> Example:
    """Segment one image of a split and compare."""
    image, truth = read_upright(reader, stem), reader.labels(stem)
    estimate = segmenter.labels(image)
    confusion = ConfusionMatrix(classes)
    confusion.update(truth, estimate)
    return Example(stem, image, truth, estimate, confusion.mean_iou)


def overlay(image: Image.Image, labels: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> Image.Image:
    """RGB image with its classes' colours blended over it; a black class stays see-through, VOID becomes white."""
    colors = np.zeros((256, 3), np.float32)
    opacity = np.zeros((256, 1), np.float32)
    for entry in classes:
        colors[entry.id] = entry.rgb
        opacity[entry.id] = OPACITY if any(entry.rgb) else 0
    colors[VOID], opacity[VOID] = 255, OPACITY
    pixels = np.asarray(image, np.float32)
    blended = pixels + (colors[labels] - pixels) * opacity[labels]
    return Image.fromarray(blended.round().astype(np.uint8))


def panel(examples: Sequence[Example], classes: Sequence[ClassInfo], columns: int = 2) -> bytes:
    """JPEG of all examples, each as image | truth | estimate under its name and mean IoU, and a legend."""
    font = ImageFont.load_default(size=12)
    width, height = 3 * CELL[0] + GAP, CAPTION + CELL[1] + GAP
    rows = -(-len(examples) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for number, example in enumerate(examples):
        left, top = number % columns * width, number // columns * height
        draw.text((left, top), f"{example.stem}   mean IoU {example.mean_iou:.2f}   image | truth | estimate", "black", font)
        shown = (
            example.image,
            overlay(example.image, example.truth, classes),
            overlay(example.image, example.estimate, classes),
        )
        for place, picture in enumerate(shown):
            small = picture.copy()
            small.thumbnail((CELL[0] - 2, CELL[1]))
            sheet.paste(small, (left + place * CELL[0], top + CAPTION))
    left = 0
    for entry in classes:
        draw.rectangle((left, rows * height + 2, left + 11, rows * height + 13), entry.color, "black")
        draw.text((left + 16, rows * height), entry.name, "black", font)
        left += 30 + int(draw.textlength(entry.name, font))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()
