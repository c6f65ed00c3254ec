"""From the bytes of an upload to an RGB image: limits are checked before any pixel is decoded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

from PIL import Image, TiffImagePlugin, UnidentifiedImageError
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPOFFSETS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
)

from service.geometry import UNSUPPORTED_MODES, Photo, UnsupportedPixels
from service.imaging.scans import MAX_SCANS, has_too_many_scans
from service.settings import PILLOW_MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # uploads reach only these of Pillow's 43 parsers, each of which could be attacked
MAX_BANDS = 4
MAX_SIDE = 65_500  # libjpeg's limit: a longer image cannot have an overlay, and one row of its scores would fill the memory
_SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|II[*+]\0|MM\0[*+]", re.DOTALL)
_SIGNATURE_BYTES = 12
_TIFF_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_BIG_TIFF = 43  # third byte of the file, or the fourth if big-endian
_IN_PLANES, _SIGNED = 2, 2  # values of the TIFF tags PLANAR_CONFIGURATION and SAMPLEFORMAT
# Pillow keeps the header in memory, and a list of where the pixels lie. No ordinary file needs more than these limits.
HEADER_READS, HEADER_BYTES = 2_000, 16 << 20
MAX_TIFF_PARTS = 1 << 18
MAX_TILED = 2  # times max_pixels: the pixels of a TIFF's tiles, those outside the image included
# Of one directory. A BigTIFF may claim 2^64 tags, and reading a file on disk allocates memory for all bytes asked for.
MAX_TIFF_TAGS = 65_535
# At a time. What libjpeg cannot use yet, Pillow copies and libjpeg scans anew at each read: with Pillow's own 64 KB, 32 MB of
# filling bytes took 19 s.
JPEG_READ_BYTES = 1 << 20
MIN_BYTES_PER_READ = 64  # on average, after the header: a file of a few megabytes could have millions of empty pieces


class BrokenImage(ValueError):
    """Empty, truncated or damaged bytes."""


class UnsupportedImage(ValueError):
    """Not one of the accepted formats, or pixels without a defined meaning."""


class TooManyPixels(ValueError):
    """An image that is larger than a limit, as its header shows."""

    def __init__(self, detail: str, limit: int) -> None:
        super().__init__(f"{detail}, the limit is {limit}")
        self.limit = limit


class _Reader:
    """A file object that hides its file descriptor.

    Given the descriptor, libtiff would read by its number, even after the request is over and the number is another file's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell
        self._reads, self._bytes = float(HEADER_READS), HEADER_BYTES  # how many are still allowed
        self.in_header = True
        self.check: Callable[[], None] = lambda: None  # raises when the work is called off

    def read(self, size: int = -1) -> bytes:
        """As a file's. Raises BrokenImage for a header too long or pixels in too many small pieces, and as `check` does."""
        self.check()
        content = self._file.read(size)
        if size < 0:  # Pillow reads a WebP as a whole
            return content
        self._reads -= 1
        if self.in_header:
            self._bytes -= len(content)
        else:
            self._reads += len(content) / MIN_BYTES_PER_READ
        if min(self._reads, self._bytes) < 0:
            raise BrokenImage("the image's header is too long" if self.in_header else "the image is in too many small pieces")
        return content


@dataclass(frozen=True)
class Upload:
    """An image whose header has been read and is within limits, and whose pixels are not decoded yet."""

    image: Image.Image
    reader: _Reader
    size: tuple[int, int]  # (width, height) by the header: the decoded image may have them swapped, by its EXIF orientation
    decoded_pixels: int  # more than the image has, where tiles of a TIFF reach beyond its borders


def open_image(file: BinaryIO, max_pixels: int) -> Upload:
    """Read the header of a JPEG, PNG, WebP or TIFF; the format is decided by content.

    Raises BrokenImage, UnsupportedImage or TooManyPixels. No pixel is decoded.
    """
    file.seek(0)
    start = file.read(_SIGNATURE_BYTES)
    if not start:
        raise BrokenImage("the image is empty")
    file.seek(0)
    try:
        if start[:2] in _TIFF_ORDERS and _tiff_parts(file, start) > MAX_TIFF_PARTS:
            raise UnsupportedImage(f"the TIFF has more than {MAX_TIFF_PARTS} strips or tiles")
        reader = _Reader(file)
        image = Image.open(cast(BinaryIO, reader), formats=FORMATS)
        reader.in_header = False
        decoded_pixels = _checked(image, max_pixels)
        if image.format in ("JPEG", "MPO"):
            if has_too_many_scans(file):
                raise UnsupportedImage(f"the JPEG has more than {MAX_SCANS} scans")
            image.decodermaxblock = JPEG_READ_BYTES
    except (BrokenImage, TooManyPixels, UnsupportedImage, MemoryError):
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, which Pillow checks before the size is known here
        raise TooManyPixels(f"the image has more than {PILLOW_MAX_PIXELS} pixels", max_pixels) from None
    except UnidentifiedImageError:
        raise _unidentified(file, start) from None
    except Exception as error:  # Pillow's parsers raise many types on damaged files
        raise BrokenImage(f"the image cannot be read: {error}") from error
    return Upload(image, reader, image.size, decoded_pixels)


def _checked(image: Image.Image, max_pixels: int) -> int:
    """Check the header against the limits; returns how many pixels decoding makes. Raises as `open_image` does."""
    width, height = image.size
    decoded = width * height
    if decoded == 0:
        raise BrokenImage("the image has no pixels")
    if decoded > max_pixels:
        raise TooManyPixels(f"the image has {decoded} pixels", max_pixels)
    if max(width, height) > MAX_SIDE:
        raise TooManyPixels(f"the image is {width}x{height}; for one side", MAX_SIDE)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        across, down = image.tag_v2.get(TILEWIDTH, 0), image.tag_v2.get(TILELENGTH, 0)
        if (tile := across * down) > max_pixels:  # libtiff decodes a whole tile, even if little of it lies within the image
            raise TooManyPixels(f"a tile of the TIFF has {tile} pixels", max_pixels)
        if tile:
            decoded = -(-width // across) * -(-height // down) * tile  # many tiles may be the same bytes of the file
        if decoded > MAX_TILED * max_pixels:
            raise TooManyPixels(f"the tiles of the TIFF have {decoded} pixels", MAX_TILED * max_pixels)
        if image.tag_v2.get(SAMPLESPERPIXEL, 1) > MAX_BANDS:
            raise UnsupportedImage(f"the TIFF has more than {MAX_BANDS} bands")
        _check_samples(image)
    if image.mode in UNSUPPORTED_MODES:
        raise UnsupportedImage(UNSUPPORTED_MODES[image.mode])
    return decoded


def _check_samples(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse sample formats that Pillow accepts but decodes wrongly. Raises UnsupportedImage."""
    tags = image.tag_v2
    if _SIGNED in tags.get(SAMPLEFORMAT, ()):
        raise UnsupportedImage("signed integer pixels have no defined range; convert them to unsigned")
    in_planes = tags.get(PLANAR_CONFIGURATION) == _IN_PLANES and tags.get(SAMPLESPERPIXEL, 1) > 1
    if in_planes and max(tags.get(BITSPERSAMPLE, (1,))) > 8 and image.info.get("compression") == "raw":
        raise UnsupportedImage("16-bit colours in separate planes are only supported compressed")


def decode(upload: Upload, check: Callable[[], None]) -> Photo:
    """Decode the image to RGB. If that makes a converted copy, the upload's own image is closed.

    `check` is called before each read of the file, and raises when the work is called off. Raises BrokenImage or
    UnsupportedImage, and what `check` raises.
    """
    upload.reader.check = check
    try:
        photo = Photo.of(upload.image)
    except UnsupportedPixels as error:
        raise UnsupportedImage(str(error)) from error
    except (BrokenImage, MemoryError):
        raise
    except Exception as error:  # of any type, as in `open_image`: a damaged file is the cause
        check()
        raise BrokenImage(f"the image cannot be decoded: {error}") from error
    if photo.stored is not upload.image:
        upload.image.close()
    return photo


def _tiff_parts(file: BinaryIO, start: bytes) -> int:
    """Number of strips and tiles that a TIFF's first directory lists; entries beyond the end of the file are not counted."""
    order, big = _TIFF_ORDERS[start[:2]], start[2] == _BIG_TIFF or start[3] == _BIG_TIFF
    word, count, entry = (8, 8, 20) if big else (4, 2, 12)  # sizes in bytes: an offset, the number of entries, one entry
    file.seek(8 if big else 4)
    file.seek(int.from_bytes(file.read(word), order))
    entries = file.read(min(int.from_bytes(file.read(count), order), MAX_TIFF_TAGS) * entry)
    file.seek(0)
    parts = 0
    for place in range(0, len(entries) - entry + 1, entry):
        if int.from_bytes(entries[place : place + 2], order) in (STRIPOFFSETS, TILEOFFSETS):
            parts += int.from_bytes(entries[place + 4 : place + 4 + word], order)
    return parts


def _unidentified(file: BinaryIO, start: bytes) -> BrokenImage | UnsupportedImage:
    """The error for a file that Pillow does not identify: of another format, damaged, or a TIFF with unsupported pixels."""
    if not _SIGNATURE.match(start):
        return UnsupportedImage("not a JPEG, PNG, WebP or TIFF image")
    if start.startswith(b"MM\0+"):
        return UnsupportedImage("big-endian BigTIFF is not supported")  # by Pillow
    try:
        file.seek(0)
        big = start[2] == _BIG_TIFF
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if big else 8))
        place = directory.next
        file.seek(place)
        tags = int.from_bytes(file.read(8 if big else 2), _TIFF_ORDERS[start[:2]])
        file.seek(place)
        directory.load(file)  # skips tags that it cannot read
        cut_short = len(directory) < max(1, tags)
        many_bands = directory.get(SAMPLESPERPIXEL, 1) > MAX_BANDS
    except Exception:
        return BrokenImage("the image's header is damaged or cut short")
    if many_bands:
        return UnsupportedImage(f"the TIFF has more than {MAX_BANDS} bands")
    if cut_short:
        return BrokenImage("the TIFF's list of tags is damaged or cut short")
    return UnsupportedImage("the TIFF's pixel layout is not supported")
