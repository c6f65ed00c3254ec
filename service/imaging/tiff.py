"""Checks the directory of a TIFF before Pillow and libtiff read it.

They read some files differently, so a check through Pillow would not tell what libtiff will do, and neither of them limits what
a small file can make it do. Only a directory that means one thing passes, with the limits that follow from its own tags.
"""

import os
import re
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    EXTRASAMPLES,
    FILLORDER,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    ROWSPERSTRIP,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    YCBCRSUBSAMPLING,
)

from service.imaging.errors import BrokenImage, TooManyPixels, UnsupportedImage
from service.imaging.scans import START_OF_SCAN, most_scans

ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}  # first bytes of a TIFF -> its byte order
_BIG_TIFF = 43  # third byte of the file, or the fourth if big-endian
MAX_BANDS = 4
MAX_PARTS = 1 << 18  # strips or tiles
MAX_TILED = 2  # times the most pixels of an image: the pixels of all tiles, those outside the image included
_MAX_FRACTIONS = 4_096  # of one tag; Pillow makes a Python object of each
# Of one directory. A BigTIFF may claim 2^64 tags, and reading a file on disk allocates memory for all bytes asked for.
_MAX_TAGS = 65_535
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # type -> bytes of a value
_WHOLE, _FRACTIONS = (3, 4, 16), (5, 10)  # types
# Without JPEG of the kind before 1995, of which each program has its own reading, WebP, and what almost no program writes.
_RAW, _JPEG = 1, 7
_COMPRESSIONS = {_RAW, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 34925, 50000}
_ORIENTATION, _IMAGE_DEPTH, _TILE_DEPTH = 274, 32997, 32998
_PARTS = (STRIPOFFSETS, STRIPBYTECOUNTS, TILEOFFSETS, TILEBYTECOUNTS)
_TILES = (TILEWIDTH, TILELENGTH, TILEOFFSETS)
# How many values a tag may have that decides how pixels are decoded. Each is a whole number, not below 0.
_MAX_COUNT: Final[dict[int, int]] = (
    dict.fromkeys(_PARTS, MAX_PARTS)
    | dict.fromkeys((BITSPERSAMPLE, SAMPLEFORMAT, EXTRASAMPLES), 65_535)  # one for each band
    | dict.fromkeys((IMAGEWIDTH, IMAGELENGTH, COMPRESSION, PHOTOMETRIC_INTERPRETATION, FILLORDER, _ORIENTATION), 1)
    | dict.fromkeys((SAMPLESPERPIXEL, ROWSPERSTRIP, PLANAR_CONFIGURATION, PREDICTOR, TILEWIDTH, TILELENGTH), 1)
    | {YCBCRSUBSAMPLING: 2}
)
_PLANES, _SIGNED, _ASSOCIATED = 2, 2, 1  # values of PLANAR_CONFIGURATION, SAMPLEFORMAT and EXTRASAMPLES
_NEGATIVE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8  # of PHOTOMETRIC_INTERPRETATION
_FRAME_HEADER = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf](?=.{3}(..))", re.DOTALL)  # of a JPEG, and its height


@dataclass(frozen=True)
class _Directory:
    """The first directory of a TIFF: where the values of each tag lie."""

    file: BinaryIO
    order: Literal["little", "big"]
    tags: dict[int, tuple[int, int, int]]  # number -> (type, count, place of the first value in the file)

    def values(self, tag: int) -> NDArray[np.uint64]:
        """The whole numbers of one of `_MAX_COUNT`, after `_check_tags`; none if there is no such tag."""
        if tag not in self.tags:
            return np.empty(0, np.uint64)
        kind, count, place = self.tags[tag]
        self.file.seek(place)
        content = self.file.read(count * _SIZES[kind])
        prefix = "<" if self.order == "little" else ">"
        return np.frombuffer(content, f"{prefix}u{_SIZES[kind]}").astype(np.uint64)

    def value(self, tag: int, default: int) -> int:
        """The first of the values."""
        return int(self.values(tag)[0]) if tag in self.tags else default


def tiff_pixels(file: BinaryIO, max_pixels: int) -> int:
    """How many pixels are made by decoding the first image of a TIFF: more than it has, if its tiles reach beyond its borders.

    Raises BrokenImage, UnsupportedImage, or TooManyPixels if that is more than MAX_TILED times `max_pixels`, or one tile has
    more than `max_pixels`. The position in `file` changes.
    """
    size = file.seek(0, os.SEEK_END)
    found = _directory(file)
    _check_tags(found, size)
    if found.value(SAMPLESPERPIXEL, 1) > MAX_BANDS:
        raise UnsupportedImage(f"the TIFF has more than {MAX_BANDS} bands")
    compression = found.value(COMPRESSION, _RAW)
    if compression not in _COMPRESSIONS:
        raise UnsupportedImage(f"the TIFF's compression {compression} is not supported")
    _check_samples(found, compression)
    decoded = _decoded_pixels(found, max_pixels)
    strips, planes = _strips(found), found.value(SAMPLESPERPIXEL, 1) if _in_planes(found) else 1
    offsets = np.concatenate([found.values(STRIPOFFSETS), found.values(TILEOFFSETS)])
    counts = np.minimum(np.concatenate([found.values(STRIPBYTECOUNTS), found.values(TILEBYTECOUNTS)]), size)
    # Pillow decodes each raw one as often as it is listed. Old files may leave out their lengths.
    if len(offsets) != strips * planes or len(counts) not in (0, len(offsets)):
        raise UnsupportedImage("the TIFF lists more or fewer strips or tiles than it has")
    if counts.sum() > 2 * size + decoded:  # the same bytes over and over
        raise UnsupportedImage("the TIFF's strips or tiles have more bytes than the file")
    if compression == _JPEG:
        if len(counts) == 0 or not counts.all():  # libtiff would guess
            raise UnsupportedImage("the TIFF does not tell the lengths of its JPEGs")
        _check_jpegs(found, offsets.tolist(), counts.tolist(), strips, decoded)
    return decoded


def _directory(file: BinaryIO) -> _Directory:
    file.seek(0)
    start = file.read(8)
    order, big = ORDERS[start[:2]], _BIG_TIFF in start[2:4]
    word, count, size = (8, 8, 20) if big else (4, 2, 12)  # bytes of an offset, of the number of entries, and of one entry
    file.seek(8 if big else 4)
    first = int.from_bytes(file.read(word), order) + count  # place of the first entry
    file.seek(first - count)
    claimed = int.from_bytes(file.read(count), order)
    entries = file.read(min(claimed, _MAX_TAGS) * size)
    if not claimed or len(entries) < claimed * size:
        raise BrokenImage("the TIFF's list of tags is damaged or cut short")
    tags: dict[int, tuple[int, int, int]] = {}
    for place in range(0, len(entries), size):
        tag, kind = (int.from_bytes(entries[place + at : place + at + 2], order) for at in (0, 2))
        values = int.from_bytes(entries[place + 4 : place + 4 + word], order)
        if kind not in _SIZES or tag in tags:  # each library passes over some such tags, but not over the same
            raise UnsupportedImage(f"the TIFF's tag {tag} " + ("occurs twice" if tag in tags else f"is of unknown type {kind}"))
        at = first + place + 4 + word  # values that fit are here, others where this says
        if values * _SIZES[kind] > word:
            at = int.from_bytes(entries[place + 4 + word : place + size], order)
        tags[tag] = kind, values, at
    return _Directory(file, order, tags)


def _check_tags(found: _Directory, size: int) -> None:
    """Refuse tags that decide how pixels are decoded and are unusual, and tags of too many values; `size` is the file's.

    Raises BrokenImage or UnsupportedImage.
    """
    for tag, (kind, count, place) in found.tags.items():
        if tag in _PARTS and count > MAX_PARTS:
            raise UnsupportedImage(f"the TIFF has more than {MAX_PARTS} strips or tiles")
        if tag in _MAX_COUNT and (kind not in _WHOLE or not 1 <= count <= _MAX_COUNT[tag]):
            raise UnsupportedImage(f"the TIFF's tag {tag} has {count} values of type {kind}")
        if count > (_MAX_FRACTIONS if kind in _FRACTIONS else MAX_PARTS) and _SIZES[kind] > 1:
            raise UnsupportedImage(f"the TIFF's tag {tag} has {count} values")
        if tag in _MAX_COUNT and place + count * _SIZES[kind] > size:
            raise BrokenImage("the TIFF is cut short")
        if tag in (_IMAGE_DEPTH, _TILE_DEPTH):
            raise UnsupportedImage("TIFFs of volumes are not supported")


def _check_samples(found: _Directory, compression: int) -> None:
    """Refuse samples that Pillow accepts but decodes wrongly, or would call broken. Raises UnsupportedImage."""
    if _SIGNED in found.values(SAMPLEFORMAT):
        raise UnsupportedImage("signed integer pixels have no defined range; convert them to unsigned")
    if found.value(PLANAR_CONFIGURATION, 1) != _PLANES:
        return
    colours, extra = found.value(PHOTOMETRIC_INTERPRETATION, _NEGATIVE), found.values(EXTRASAMPLES)
    if colours == _LAB or (colours != _RGB and extra.any()):
        raise UnsupportedImage("CIELAB, and any transparency but that of RGB, are not supported in separate planes")
    if colours == _YCBCR and found.values(YCBCRSUBSAMPLING).tolist() != [1, 1]:
        raise UnsupportedImage("subsampled colours are not supported in separate planes")
    # Of a raw plane, Pillow heeds neither the order of the bits, nor how many there are, nor that white is 0.
    bits = found.value(BITSPERSAMPLE, 1)
    plain = found.value(FILLORDER, 1) == 1 and _ASSOCIATED not in extra
    known = (bits == 8 and colours in (_GREY, _RGB, _PALETTE, _CMYK)) or (bits == 1 and colours == _GREY)
    if compression == _RAW and not (plain and known):
        raise UnsupportedImage("in separate planes, only 8-bit grey, RGB, palettes and CMYK are supported uncompressed")


def _decoded_pixels(found: _Directory, max_pixels: int) -> int:
    width, height = found.value(IMAGEWIDTH, 0), found.value(IMAGELENGTH, 0)
    if not any(tag in found.tags for tag in _TILES):
        return width * height
    if not all(tag in found.tags for tag in _TILES) or STRIPOFFSETS in found.tags:
        raise UnsupportedImage("the TIFF has neither whole tiles nor whole strips")
    across, down = found.value(TILEWIDTH, 0), found.value(TILELENGTH, 0)
    tile = across * down
    if tile == 0:
        raise BrokenImage("the TIFF's tiles have no pixels")
    if tile > max_pixels:  # libtiff decodes a whole tile, even if little of it lies within the image
        raise TooManyPixels(f"a tile of the TIFF has {tile} pixels", max_pixels)
    decoded = _strips(found) * tile  # many tiles may be the same bytes of the file
    if decoded > MAX_TILED * max_pixels:
        raise TooManyPixels(f"the tiles of the TIFF have {decoded} pixels", MAX_TILED * max_pixels)
    return decoded


def _in_planes(found: _Directory) -> bool:
    return found.value(PLANAR_CONFIGURATION, 1) == _PLANES and found.value(SAMPLESPERPIXEL, 1) > 1


def _rows(found: _Directory) -> int:
    """Rows of a strip, except that the last may have fewer."""
    height = found.value(IMAGELENGTH, 0)
    return max(1, min(height, found.value(ROWSPERSTRIP, height)))


def _strips(found: _Directory) -> int:
    """How many strips, or tiles that are not empty, each plane has."""
    width, height = found.value(IMAGEWIDTH, 0), found.value(IMAGELENGTH, 0)
    if TILEWIDTH in found.tags:
        return -(-width // found.value(TILEWIDTH, 0)) * -(-height // found.value(TILELENGTH, 0))
    return -(-height // _rows(found))


def _check_jpegs(found: _Directory, offsets: list[int], counts: list[int], strips: int, decoded: int) -> None:
    """Refuse JPEGs of too many scans, and a last strip, of any plane, whose JPEG is higher than the strip.

    libtiff decodes such a strip whole. Several strips or tiles may be the same bytes. Raises UnsupportedImage.
    """
    found.file.seek(0)
    content = found.file.read()
    parts = [(offset, offset + count) for offset, count in zip(offsets, counts, strict=True)]
    most = most_scans(decoded)
    if sum(content.count(START_OF_SCAN, *part) for part in parts) > most * len(parts):
        raise UnsupportedImage(f"the JPEGs in the TIFF have more than {most} scans each")
    if TILEWIDTH in found.tags:
        return
    rows = _rows(found)
    for part in parts[strips - 1 :: strips]:
        if any(int.from_bytes(frame[1], "big") > rows for frame in _FRAME_HEADER.finditer(content, *part)):
            raise UnsupportedImage("the TIFF's last strip is a JPEG that is higher than the strip")
