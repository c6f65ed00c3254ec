"""Decodes stored masks into class ids, by value or by colour; an unknown value or colour is an error, never a guess."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from service.geometry import upright
from training.data.reader import open_image
from training.errors import InputError
from training.wording import counted

MASK_SUFFIXES = (".png", ".tif", ".tiff")
FORMATS = ("PNG", "TIFF")  # JPEG changes values, and WebP may
VALUE_MODES = ("1", "L", "LA", "P", "PA", "I", "I;16", "I;16L", "I;16B")  # one number per pixel
COLOR_MODES = ("RGB", "RGBA", "P", "PA")
REPORTED = 5  # unknown values listed in one message

_PNG_BIT_DEPTH = 24  # offset in bytes: after signature, length, IHDR, width and height

RGB = tuple[int, int, int]


def read_mask(path: Path) -> Image.Image:
    """An upright mask with its pixels loaded. Raises InputError if the file is missing or not a readable PNG or TIFF."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"the mask {path} is missing") from error
    except OSError as error:
        raise InputError(f"the mask {path} cannot be read: {error.strerror}") from error
    return decode_mask(content, str(path))


def decode_mask(content: bytes, name: str) -> Image.Image:
    """As `read_mask`, from a file's content; `name` is for messages.

    Refuses a TIFF that may hold its values inverted, and channels of 16 bits of which Pillow drops the lower half.
    """
    try:
        mask = open_image(content, FORMATS)
        mask.info.pop("xmp", None)  # Pillow would turn a TIFF by the orientation in it, and photos are not turned by that
        mask.load()
        mask.info.pop("transparency", None)  # counts for nothing, see `_opaque`: Pillow need not warn of it
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parsers raise many types on damaged files
        raise InputError(f"the mask {name} cannot be read as PNG or TIFF: {error}") from error
    tiff = mask if isinstance(mask, TiffImageFile) else None
    if tiff and tiff.tag_v2.get(PHOTOMETRIC_INTERPRETATION, 0) == 0:  # some programs invert what they store, some do not
        raise InputError(f"the mask {name} stores white as 0 (PhotometricInterpretation 0): save it with black as 0")
    bits = tiff.tag_v2.get(BITSPERSAMPLE, (1,))[0] if tiff else content[_PNG_BIT_DEPTH]
    if bits > 8 and len(mask.getbands()) > 1:  # Pillow keeps the upper 8: ids would all become 0
        raise InputError(f"the mask {name} has several channels of {bits} bits: save it with 8 bits, or with one channel")
    if mask.mode == "L" and bits < 8:
        most = 2**bits - 1  # Pillow has scaled this to 255, and the other values in proportion
        return upright(mask).point([round(value * most / 255) for value in range(256)])
    return upright(mask)


def by_value(mask: Image.Image, name: str, ids: Mapping[int, int]) -> NDArray[np.uint8]:
    """Labels of a mask with one number per pixel: (H, W) uint8, `ids[value]` for each pixel.

    Raises InputError for a value that is not in `ids`, for a colour image, and where an alpha channel is not opaque.
    """
    if mask.mode not in VALUE_MODES:
        raise InputError(f"the mask {name} is a colour image (mode {mask.mode}); expected an indexed or grey one")
    return translate(np.asarray(_opaque(mask, name)), name, ids)


def translate(values: NDArray[np.generic], name: str, ids: Mapping[int, int]) -> NDArray[np.uint8]:
    """(H, W) numbers of any type -> (H, W) uint8 `ids[value]`. Raises InputError for a value that is not in `ids`."""
    table, known = np.zeros(256, np.uint8), np.zeros(256, bool)
    table[list(ids)], known[list(ids)] = list(ids.values()), True
    codes = values.astype(np.uint8, copy=False)
    right = known.take(codes)  # twice as fast as known[codes]
    if values.dtype != np.uint8:
        right &= codes == values
    if not right.all():
        strange = [f"{value} ({counted(count, 'pixel')})" for value, count in _most_frequent(values[~right])]
        raise InputError(f"the mask {name} holds values that are no class: {', '.join(strange)}; classes are {_ranges(ids)}")
    labels: NDArray[np.uint8] = table.take(codes)
    return labels


def by_color(mask: Image.Image, name: str, ids: Mapping[RGB, int]) -> NDArray[np.uint8]:
    """Labels of a mask whose colours stand for classes: (H, W) uint8, `ids[red, green, blue]` for each pixel.

    Raises InputError for a colour that is not in `ids`, for a grey image, and where an alpha channel is not opaque.
    """
    if mask.mode not in COLOR_MODES:
        raise InputError(f"the mask {name} has pixels of mode {mask.mode}; expected RGB, or indexed or grey values")
    pixels = np.asarray(_opaque(mask, name).convert("RGB"), np.uint32)
    codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    colors = sorted(ids)
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colors], np.uint32)
    index = np.searchsorted(known, codes).clip(max=len(known) - 1) if colors else np.zeros(codes.shape, np.intp)
    right = known[index] == codes if colors else np.zeros(codes.shape, bool)
    if not right.all():
        strange = [f"#{code:06x} ({counted(count, 'pixel')})" for code, count in _most_frequent(codes[~right])]
        grey = bool((np.ptp(pixels[~right], axis=-1) == 0).all())
        hint = "; if these are ids, save the mask with one channel" if grey else ""
        raise InputError(f"the mask {name} holds colours that are no class's: {', '.join(strange)}{hint}")
    labels: NDArray[np.uint8] = np.array([ids[color] for color in colors], np.uint8)[index]
    return labels


def _opaque(mask: Image.Image, name: str) -> Image.Image:
    """The mask without its alpha channel. Raises InputError if a pixel is not fully opaque there: its class is unknown.

    A PNG may instead declare one of its values or colours transparent (tRNS), as tools do with the background so that the
    mask can be laid over the photo. Such a pixel has been painted all the same, and it counts.
    """
    if mask.mode not in ("LA", "PA", "RGBA"):
        return mask
    clear = int((np.asarray(mask.getchannel("A")) != 255).sum())
    if clear:
        raise InputError(f"the mask {name} has {counted(clear, 'transparent pixel')}: paint over with a class's colour")
    return mask.convert("RGB") if mask.mode == "RGBA" else mask.getchannel(0)


def _most_frequent(values: NDArray[np.generic]) -> list[tuple[int, int]]:
    """Up to REPORTED (value, count), the most frequent first."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:REPORTED]
    return [(int(found[index]), int(counts[index])) for index in order]


def _ranges(values: Mapping[int, int]) -> str:
    """0, 1, 2, 255 -> "0..2, 255"."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
