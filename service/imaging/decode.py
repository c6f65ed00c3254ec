"""From the bytes of an upload to an upright RGB image: limits first, pixels after."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from service.geometry import UNSUPPORTED_MODES, Photo, UnsupportedPixels
from service.imaging.scans import MAX_SCANS, has_too_many_scans
from service.settings import PILLOW_MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # Pillow registers 43 parsers; each is a door
MAX_BANDS = 4
MAX_SIDE = 65_500  # libjpeg's limit: a longer image could have no overlay, and one row of its scores fills the memory
_SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|II[*+]\0|MM\0[*+]", re.DOTALL)
_SIGNATURE_BYTES = 12
_TIFF_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_BIG_TIFF = 43  # third byte of the file
_STRIPS, _SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_LENGTH, _TILES = 273, 277, 322, 323, 324  # TIFF tags
_BITS_PER_SAMPLE, _PLANAR, _SAMPLE_FORMAT = 258, 284, 339  # ... and others
_IN_PLANES, _SIGNED = 2, 2  # values of the last two
# Pillow keeps what it reads before the pixels, and a list of where they lie: more than this no honest file needs.
HEADER_READS, HEADER_BYTES = 2_000, 16 << 20
MAX_TIFF_PARTS = 1 << 18
MAX_TIFF_TAGS = 65_535  # in one directory: a BigTIFF may claim 2^64, and a file on the disk makes room for what it is asked for
MIN_BYTES_PER_READ = 64  # bytes, on average, behind the header: of empty pieces a file of megabytes would have millions


class BrokenImage(ValueError):
    """Empty, truncated or damaged bytes."""


class UnsupportedImage(ValueError):
    """Not one of the accepted formats, or pixels without a defined meaning."""


class TooManyPixels(ValueError):
    """An image larger than a limit, by its header."""

    def __init__(self, detail: str, limit: int) -> None:
        super().__init__(f"{detail}, the limit is {limit}")
        self.limit = limit


class _Reader:
    """A file without its descriptor.

    Given one, libtiff reads by its number, and goes on after the request is over and the number is another file's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell
        self._reads, self._bytes = float(HEADER_READS), HEADER_BYTES  # that are left
        self.in_header = True
        self.check: Callable[[], None] = lambda: None  # raises when the work is called off

    def read(self, size: int = -1) -> bytes:
        """As a file's. Raises BrokenImage for a header that never ends, and for pixels in very many small pieces."""
        self.check()
        content = self._file.read(size)
        if size < 0:  # WebP is handed to its library as a whole
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
    """An image whose header has been read and found within limits, and whose pixels have not."""

    image: Image.Image
    reader: _Reader
    size: tuple[int, int]  # (width, height) as stored; EXIF orientation may swap them


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
        _check(image, max_pixels)
        if image.format in ("JPEG", "MPO") and has_too_many_scans(file):
            raise UnsupportedImage(f"the JPEG has more than {MAX_SCANS} scans")
    except (BrokenImage, TooManyPixels, UnsupportedImage, MemoryError):
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, which it checks before we can see the size
        raise TooManyPixels(f"the image has more than {PILLOW_MAX_PIXELS} pixels", max_pixels) from None
    except UnidentifiedImageError:
        raise _unidentified(file, start) from None
    except Exception as error:  # Pillow's parsers raise many types on damaged files
        raise BrokenImage(f"the image cannot be read: {error}") from error
    return Upload(image, reader, image.size)


def _check(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height == 0:
        raise BrokenImage("the image has no pixels")
    if width * height > max_pixels:
        raise TooManyPixels(f"the image has {width * height} pixels", max_pixels)
    if max(width, height) > MAX_SIDE:
        raise TooManyPixels(f"the image is {width}x{height}; for one side", MAX_SIDE)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = image.tag_v2.get(_TILE_WIDTH, 0) * image.tag_v2.get(_TILE_LENGTH, 0)
        if tile > max_pixels:  # libtiff holds a whole tile, however little of it the image shows
            raise TooManyPixels(f"a tile of the TIFF has {tile} pixels", max_pixels)
        if image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) > MAX_BANDS:
            raise UnsupportedImage(f"the TIFF has more than {MAX_BANDS} bands")
        _check_samples(image)
    if image.mode in UNSUPPORTED_MODES:
        raise UnsupportedImage(UNSUPPORTED_MODES[image.mode])


def _check_samples(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse what Pillow takes and reads wrongly."""
    tags = image.tag_v2
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
        raise UnsupportedImage("signed integer pixels have no defined range; convert them to unsigned")
    in_planes = tags.get(_PLANAR) == _IN_PLANES and tags.get(_SAMPLES_PER_PIXEL, 1) > 1
    if in_planes and max(tags.get(_BITS_PER_SAMPLE, (1,))) > 8 and image.info.get("compression") == "raw":
        raise UnsupportedImage("16-bit colours in separate planes are only supported compressed")


def decode(upload: Upload, check: Callable[[], None]) -> Photo:
    """The image in RGB; the upload's own pixels are let go of.

    `check` is called again and again, and raises when the work is called off. Raises BrokenImage or UnsupportedImage, and
    what `check` does.
    """
    upload.reader.check = check
    try:
        photo = Photo.of(upload.image)
    except UnsupportedPixels as error:
        raise UnsupportedImage(str(error)) from error
    except (BrokenImage, MemoryError):
        raise
    except Exception as error:  # as above: whatever a damaged file makes Pillow raise, it is the file's fault
        check()
        raise BrokenImage(f"the image cannot be decoded: {error}") from error
    if photo.stored is not upload.image:
        upload.image.close()
    return photo


def _tiff_parts(file: BinaryIO, start: bytes) -> int:
    """How many strips and tiles a TIFF's first directory names; 0 where it has none, or is cut short."""
    order, big = _TIFF_ORDERS[start[:2]], start[2] == _BIG_TIFF or start[3] == _BIG_TIFF
    word, count, entry = (8, 8, 20) if big else (4, 2, 12)  # bytes of an offset, of the number of entries, of one entry
    file.seek(8 if big else 4)
    file.seek(int.from_bytes(file.read(word), order))
    entries = file.read(min(int.from_bytes(file.read(count), order), MAX_TIFF_TAGS) * entry)
    file.seek(0)
    parts = 0
    for place in range(0, len(entries) - entry + 1, entry):
        if int.from_bytes(entries[place : place + 2], order) in (_STRIPS, _TILES):
            parts += int.from_bytes(entries[place + 4 : place + 4 + word], order)
    return parts


def _unidentified(file: BinaryIO, start: bytes) -> BrokenImage | UnsupportedImage:
    """Tell a damaged file from a TIFF that is whole but has no pixels we can show, and both from any other format."""
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
        directory.load(file)  # leaves out what it cannot read
        cut_short = len(directory) < max(1, tags)
        many_bands = directory.get(_SAMPLES_PER_PIXEL, 1) > MAX_BANDS
    except Exception:
        return BrokenImage("the image's header is damaged or cut short")
    if many_bands:
        return UnsupportedImage(f"the TIFF has more than {MAX_BANDS} bands")
    if cut_short:
        return BrokenImage("the TIFF's list of tags is damaged or cut short")
    return UnsupportedImage("the TIFF's pixel layout is not supported")
