"""From labels and pixels to PNG and JPEG."""

import io
import struct
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
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_INDEXED, PNG_UP = 3, 2  # color type: a pixel is an index into the palette; filter: the difference from the pixel above
JPEG_QUALITY = 90


def mask_png(labels: NDArray[np.uint8], classes: tuple[ClassInfo, ...], legend: str) -> bytes:
    """(H, W) uint8 class ids -> an indexed PNG: pixel value = class id, palette = the classes' colours.

    Pillow packs the pixels and makes the chunks. It would call zlib for each row, which takes three times as long.
    """
    height, width = labels.shape
    bits, packing = (4, "P;4") if len(classes) <= 16 else (8, "P")
    text = PngImagePlugin.PngInfo()
    text.add_itxt(LEGEND_KEY, legend)
    zlib_stream = zlib.compressobj(strategy=PNG_STRATEGY)
    rows = max(1, STRIP_PIXELS // width)
    compressed = [zlib_stream.compress(_png_lines(labels, top, top + rows, packing).data) for top in range(0, height, rows)]
    buffer = io.BytesIO()
    buffer.write(PNG_SIGNATURE)
    PngImagePlugin.putchunk(buffer, b"IHDR", struct.pack(">2I5B", width, height, bits, PNG_INDEXED, 0, 0, 0))
    PngImagePlugin.putchunk(buffer, b"PLTE", bytes(channel for entry in classes for channel in entry.rgb))
    for kind, content, _ in text.chunks:
        PngImagePlugin.putchunk(buffer, kind, content)
    PngImagePlugin.putchunk(buffer, b"IDAT", b"".join([*compressed, zlib_stream.flush()]))
    PngImagePlugin.putchunk(buffer, b"IEND")
    return buffer.getvalue()


def _png_lines(labels: NDArray[np.uint8], top: int, bottom: int, packing: str) -> NDArray[np.uint8]:
    """The rows `top` to `bottom` of (H, W) labels -> (rows, 1 + bytes): what a PNG compresses.

    Each line is the difference from the one above it, since most of them are alike.
    """
    strip = labels[max(0, top - 1) : bottom]
    image = Image.frombuffer("P", strip.shape[::-1], strip, "raw", "P", 0, 1)  # no copy
    packed = np.frombuffer(image.tobytes("raw", packing), np.uint8).reshape(len(strip), -1)
    lines = np.full((len(strip), 1 + packed.shape[1]), PNG_UP, np.uint8)
    lines[0, 1:] = packed[0]
    np.subtract(packed[1:], packed[:-1], out=lines[1:, 1:])
    return lines[1:] if top > 0 else lines


def overlay_jpeg(
    image: Image.Image,
    labels: NDArray[np.uint8],
    classes: tuple[ClassInfo, ...],
    opacity: float,
    check: Callable[[], None],
) -> bytes:
    """Blend the classes' colours over an RGB image of the labels' size; opacity 0 is the image, 1 the colours.

    The image is overwritten with the overlay, a strip of rows at a time, since it may be large. `check` is called before each
    strip, and raises when the work is cancelled.
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
