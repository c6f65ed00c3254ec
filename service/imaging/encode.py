"""From labels and pixels to PNG and JPEG."""

import io
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from service.contract import ClassInfo
from service.geometry import STRIP_PIXELS

LEGEND_KEY = "segmentation"  # keyword of the PNG's iTXt chunk
# Label maps are long runs of few values: zlib that looks for runs alone is faster, and its result smaller, than at level 1.
PNG_STRATEGY = zlib.Z_RLE
JPEG_QUALITY = 90


def mask_png(labels: NDArray[np.uint8], classes: tuple[ClassInfo, ...], legend: str) -> bytes:
    """(H, W) uint8 class ids -> an indexed PNG: pixel value = class id, palette = the classes' colours."""
    image = Image.frombuffer("P", labels.shape[::-1], labels, "raw", "P", 0, 1)  # no copy: a photo may have 50 megapixels
    image.putpalette([channel for entry in classes for channel in entry.rgb])
    text = PngImagePlugin.PngInfo()
    text.add_itxt(LEGEND_KEY, legend)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_type=PNG_STRATEGY, pnginfo=text)
    return buffer.getvalue()


def overlay_jpeg(
    image: Image.Image,
    labels: NDArray[np.uint8],
    classes: tuple[ClassInfo, ...],
    opacity: float,
    check: Callable[[], None],
) -> bytes:
    """Blend the classes' colours over an RGB image of the labels' size; opacity 0 is the image, 1 the colours.

    The image is overwritten with the overlay, a strip of rows at a time, since it may be large. `check` is called before each
    strip, and raises when the work is called off.
    """
    palette = np.array([entry.rgb for entry in classes], np.uint8)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        check()
        box = (0, top, image.width, min(top + rows, image.height))
        colors = Image.fromarray(palette[labels[top : top + rows]])
        image.paste(Image.blend(image.crop(box), colors, opacity), box)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, comment=b"")  # by default Pillow copies the upload's own
    return buffer.getvalue()
