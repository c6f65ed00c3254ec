"""Shows images, their true labels and a model's estimates side by side."""

import io
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.contract import ClassInfo
from service.metrics import VOID
from training.survey import Example

OPACITY = 0.6  # of a class's colour over the image
CELL = (190, 150)  # pixels of one picture in a panel: width, height
CAPTION = 16  # pixels of a line of text
GAP = 12  # pixels between two examples
JPEG_QUALITY = 80
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def overlay(image: Image.Image, labels: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> Image.Image:
    """RGB image with its classes' colours blended over it; a black class is transparent, VOID is white."""
    colors = np.zeros((256, 3), np.float32)
    opacity = np.zeros((256, 1), np.float32)
    for entry in classes:
        colors[entry.id] = entry.rgb
        opacity[entry.id] = OPACITY if any(entry.rgb) else 0
    colors[VOID], opacity[VOID] = 255, OPACITY
    pixels = np.asarray(image, np.float32)
    blended = pixels + (colors[labels] - pixels) * opacity[labels]
    return Image.fromarray(blended.round().astype(np.uint8))


def cells(image: Image.Image, maps: Sequence[NDArray[np.uint8]], classes: Sequence[ClassInfo]) -> list[Image.Image]:
    """An RGB image, and an overlay of each (H, W) label map of its size, none larger than a picture in a panel.

    They are shrunk before the colours are blended: large photos in floating point would fill the memory.
    """
    factor = min(1, (CELL[0] - 2) / image.width, CELL[1] / image.height)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    small = image.resize(size, Image.Resampling.BILINEAR)
    labels = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.NEAREST)) for each in maps]
    return [small, *(overlay(small, each, classes) for each in labels)]


def panel(examples: Iterable[Example], classes: Sequence[ClassInfo]) -> Image.Image:
    """All examples, each as image | truth | estimate below its name and mean IoU; a legend at the bottom.

    Of `examples`, one after the other is taken and shrunk: a generator never has all of them in memory.
    """
    rows = [
        (
            f"{example.stem}   mean IoU {example.mean_iou:.2f}   image | truth | estimate",
            cells(example.image, (example.truth, example.estimate), classes),
        )
        for example in examples
    ]
    return contact_sheet(rows, classes, columns=2)


def contact_sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]], classes: Sequence[ClassInfo], columns: int) -> Image.Image:
    """Rows of `cells` side by side, each row below its caption, in `columns` columns; a legend at the bottom."""
    font = ImageFont.load_default(size=12)
    width, height = max(len(pictures) for _, pictures in rows) * CELL[0] + GAP, CAPTION + CELL[1] + GAP
    bottom = -(-len(rows) // columns) * height
    legend, lines = _legend(classes, columns * width, font)
    sheet = Image.new("RGB", (columns * width, bottom + lines * CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, pictures) in enumerate(rows):
        left, top = number % columns * width, number // columns * height
        draw.text((left, top), _fitted(caption, width - GAP, font), "black", font)
        for index, picture in enumerate(pictures):
            sheet.paste(picture, (left + index * CELL[0], top + CAPTION))
    for entry, (left, line) in zip(classes, legend, strict=True):
        top = bottom + line * CAPTION
        draw.rectangle((left, top + 2, left + 11, top + 13), entry.color, "black")
        draw.text((left + 16, top), entry.name, "black", font)
    return sheet


def encoded(sheet: Image.Image, form: Literal["JPEG", "PNG"]) -> bytes:
    """The picture as the bytes of a file."""
    content = io.BytesIO()
    sheet.save(content, form, quality=JPEG_QUALITY)  # ignored for PNG, which is lossless
    return content.getvalue()


def _fitted(caption: str, width: int, font: Font) -> str:
    """The caption, shortened in the middle to `width` pixels: file names can be long."""
    fitted = caption
    kept = len(caption)
    while font.getlength(fitted) > width:
        kept -= 1
        fitted = f"{caption[: kept // 2]}...{caption[len(caption) - (kept + 1) // 2 :]}"
    return fitted


def _legend(classes: Sequence[ClassInfo], width: int, font: Font) -> tuple[list[tuple[int, int]], int]:
    """The place (left, line) of each class's entry, so that none is cut off at `width` pixels; and the number of lines."""
    places, left, line = [], 0, 0
    for entry in classes:
        needed = 16 + int(font.getlength(entry.name))
        if left and left + needed > width:
            left, line = 0, line + 1
        places.append((left, line))
        left += needed + 14
    return places, line + 1
