"""From labels and pixels to PNG and JPEG."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from service.contract import ClassInfo

LEGEND_KEY = "segmentation"  # of the PNG's iTXt chunk
# Label maps are long runs of few values: level 1 is within a few per cent of level 6 and several times faster.
PNG_LEVEL = 1
JPEG_QUALITY = 90


def mask_png(labels: NDArray[np.uint8], classes: tuple[ClassInfo, ...], legend: str) -> bytes:
    """(H, W) uint8 class ids -> an indexed PNG: pixel value = class id, palette = the classes' colours."""
    image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    image.putpalette([channel for entry in classes for channel in entry.rgb])
    text = PngImagePlugin.PngInfo()
    text.add_itxt(LEGEND_KEY, legend)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_LEVEL, pnginfo=text)
    return buffer.getvalue()


def overlay_jpeg(image: Image.Image, labels: NDArray[np.uint8], classes: tuple[ClassInfo, ...], opacity: float) -> bytes:
    """Blend the classes' colours over an RGB image of the labels' size; opacity 0 is the image, 1 the colours."""
    palette = np.array([entry.rgb for entry in classes], np.uint8)
    colors = Image.fromarray(palette[labels])
    buffer = io.BytesIO()
    Image.blend(image, colors, opacity).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
