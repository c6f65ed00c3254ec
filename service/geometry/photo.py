"""From the pixels of a decoded file to an upright RGB image: orientation, palettes, depths, transparency."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from service.geometry.sizes import resized

STRIP_PIXELS = 1 << 20  # pixels converted at once
TURNED_PIXELS = 1 << 25  # larger images are turned one channel at a time: less memory, twice the time
UNSUPPORTED_MODES = {  # Pillow mode -> why
    "F": "floating-point pixels have no defined range; convert them to 8 or 16 bits",
    "I": "32-bit integer pixels have no defined range; convert them to 8 or 16 bits",
}

_TRANSPOSE = {  # EXIF orientation -> the operation that turns the stored image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_AXES = 5  # this orientation and the higher ones exchange width and height
_WHITE_16_BIT, _WHITE_12_BIT = 65_535, 4_095
_PNG_KEY_SCALE = {"L;2": 85, "L;4": 17}  # Pillow widens pixels of these raw modes to 8 bits, but not the transparent color
MAX_EXIF_BYTES = 1 << 18  # more is ignored: a tag may have millions of values, of each of which Pillow makes a Python object
_RAW_EXIF = "Raw profile type exif"  # key of the PNG text in which ImageMagick once stored EXIF


class UnsupportedPixels(ValueError):
    """Pixels that have no defined meaning as 8-bit RGB."""


@dataclass(frozen=True)
class Photo:
    """An image in mode RGB as it is stored: its pixels may still have to be turned upright."""

    stored: Image.Image
    orientation: int  # of EXIF, 1..8
    turn: int  # orientation that is still to be undone, 1..8; always 1 for TIFF, which Pillow has turned already

    @classmethod
    def of(cls, image: Image.Image) -> "Photo":
        """Decode an image.

        Grey, palette and CMYK images become RGB, and alpha is composited on white. A 16-bit grey value v becomes v / 257,
        rounded, and one of 12 bits v / 4095 * 255; from 16-bit colour Pillow makes v >> 8. Only the first frame or page is
        used. EXIF that cannot be read is ignored. Raises UnsupportedPixels for floating-point or 32-bit integer pixels and for
        16-bit colours of which one is transparent, and what Pillow raises for broken pixels.
        """
        turned_by_pillow = image.format == "TIFF"
        if isinstance(image, PngImagePlugin.PngImageFile):
            drop_text(image)
            if "transparency" in image.info and image.tile:
                _widen_transparent_color(image)
        image.info.pop("xmp", None)  # Pillow would turn a TIFF by the orientation in it
        if not turned_by_pillow:
            image.load()  # a PNG may have its EXIF after the pixels, and its texts
            drop_text(image)
        orientation = _orientation(image)
        image.load()  # not before the line above: this drops a TIFF's orientation tag
        return cls(_rgb(image), orientation, 1 if turned_by_pillow else orientation)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright image."""
        return self.stored.size[::-1] if self.turn >= _SWAPS_AXES else self.stored.size

    def upright(self) -> Image.Image:
        """The image turned upright; the stored image itself if it need not be turned."""
        return _turned(self.stored, self.turn)

    def resized(self, size: tuple[int, int]) -> Image.Image:
        """The upright image at `size` (width, height), as by the function `resized`; large ones are turned by channel."""
        if self.turn == 1 or size == self.size or self.size[0] * self.size[1] <= TURNED_PIXELS:
            return resized(self.upright(), size)
        turn = _TRANSPOSE[self.turn]
        return Image.merge("RGB", [resized(self.stored.getchannel(name).transpose(turn), size) for name in "RGB"])


def upright_rgb(image: Image.Image) -> tuple[Image.Image, int]:
    """The upright image in mode RGB, and the EXIF orientation (1..8) that it was stored in. Raises as `Photo.of` does."""
    photo = Photo.of(image)
    return photo.upright(), photo.orientation


def upright(image: Image.Image) -> Image.Image:
    """An image, its pixels loaded, turned upright by the rule for photos, in the mode that it has."""
    return _turned(image, _orientation(image))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image, stored in that orientation (1..8), turned upright; the same object if it need not be turned."""
    return image if orientation == 1 else image.transpose(_TRANSPOSE[orientation])


def _orientation(image: Image.Image) -> int:
    """Orientation (1..8) from EXIF alone. Pillow's `getexif` falls back on XMP, which no browser does."""
    exif = Image.Exif()
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            exif[ExifTags.Base.Orientation] = image.tag_v2.get(ExifTags.Base.Orientation, 1)
        else:
            content = image.info.get("exif") or bytes.fromhex("".join(image.info.get(_RAW_EXIF, "").split("\n")[3:]))
            exif.load(content if len(content) <= MAX_EXIF_BYTES else b"")
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many types on damaged metadata; the pixels may be intact
        return 1
    return int(orientation) if orientation in _TRANSPOSE else 1


def drop_text(image: Image.Image) -> None:
    """Drop the texts of a PNG, except EXIF: they may be large, and Pillow takes one named `transparency` for its own entry."""
    for key, value in list(image.info.items()):
        if isinstance(value, str) and (key != _RAW_EXIF or len(value) > MAX_EXIF_BYTES):
            del image.info[key]


def _widen_transparent_color(image: PngImagePlugin.PngImageFile) -> None:
    """Give the transparent color of a PNG that is not loaded yet the depth that Pillow gives its pixels."""
    raw_mode = image.tile[0].args
    if raw_mode == "RGB;16B":  # of the pixels, Pillow keeps the upper bytes alone
        raise UnsupportedPixels("16-bit colours with a transparent one among them; convert them to 8 bits, or to alpha")
    if raw_mode in _PNG_KEY_SCALE:
        image.info["transparency"] *= _PNG_KEY_SCALE[raw_mode]


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in UNSUPPORTED_MODES:
        raise UnsupportedPixels(UNSUPPORTED_MODES[image.mode])
    if image.mode.startswith("I;16"):
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        white = _WHITE_12_BIT if tags.get(BITSPERSAMPLE) == (12,) else _WHITE_16_BIT
        # Pillow inverts negatives of up to 8 bits itself, but not those of 16.
        is_negative = tags.get(PHOTOMETRIC_INTERPRETATION) == 0
        return _by_strips(image, partial(_eight_bits, white=white, is_negative=is_negative))
    if image.has_transparency_data:
        return _by_strips(image, _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert a few rows at a time, so that intermediate images are never larger than one strip."""
    result = Image.new("RGB", image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        result.paste(convert(image.crop(box)), box)
    return result


def _eight_bits(image: Image.Image, white: int, is_negative: bool) -> Image.Image:
    """Grey of more than 8 bits, of which `white` is the highest value; in a negative, that is black."""
    grey = np.asarray(image)
    reduced = ((grey.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    if "transparency" in image.info:
        reduced[grey == image.info["transparency"]] = 255
    if is_negative:
        reduced = 255 - reduced
    return Image.fromarray(reduced).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow has no direct way
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
