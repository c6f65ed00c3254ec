"""From the bytes of an upload to an RGB image: limits are checked before any pixel is decoded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO, cast

from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from service.geometry import MAX_EXIF_BYTES, UNSUPPORTED_MODES, Photo, UnsupportedPixels, drop_text
from service.imaging.errors import BrokenImage, TooManyPixels, UnsupportedImage
from service.imaging.scans import has_too_many_scans, most_scans
from service.imaging.tiff import ORDERS, tiff_pixels
from service.settings import PILLOW_MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # uploads reach only these of Pillow's 43 parsers, each of which could be attacked
MAX_SIDE = 65_500  # libjpeg's limit: a longer image cannot have an overlay, and one row of its scores would fill the memory
_SIGNATURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|II[*+]\0|MM\0[*+]", re.DOTALL)
_PNG_INTERLACED = 28  # place in the file
_JPEG_EXIF = b"Exif\0\0"  # begins a segment of a JPEG
# Pillow keeps the header in memory, and a list of where the pixels lie. No ordinary file needs more than these limits.
HEADER_READS, HEADER_BYTES = 2_000, 16 << 20
_PACKED, MAX_PACKED = (b"iCCP", b"zTXt", b"iTXt"), 100  # chunks of a PNG, which Pillow unpacks: a megabyte of each
# At a time. What libjpeg cannot use yet, Pillow copies and libjpeg scans anew at each read: with Pillow's own 64 KB, 32 MB of
# filling bytes took 19 s.
JPEG_READ_BYTES = 1 << 20
MIN_BYTES_PER_READ = 64  # on average, after the header: a file of a few megabytes could have millions of empty pieces
# Of all texts of one PNG, in characters, each of which may take four bytes: with Pillow's own 64 MB, 67 KB took 260 MB.
MAX_TEXT = 4 << 20
PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT


class _Reader:
    """A file object that hides its file descriptor.

    Given the descriptor, libtiff would read by its number, even after the request is over and the number is another file's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell
        self._reads, self._bytes, self._exif_bytes = float(HEADER_READS), HEADER_BYTES, MAX_EXIF_BYTES  # still allowed
        self._packed = MAX_PACKED
        self.in_header = True
        self.check: Callable[[], None] = lambda: None  # raises when the work is cancelled

    def read(self, size: int = -1) -> bytes:
        """As a file's. Raises BrokenImage for a header too long or pixels in too many small pieces, and as `check` does."""
        self.check()
        content = self._file.read(size)
        if size < 0:  # Pillow reads a WebP as a whole
            return content
        self._reads -= 1
        if self.in_header:
            self._bytes -= len(content)
            self._exif_bytes -= len(content) if content.startswith(_JPEG_EXIF) else 0  # Pillow joins and reads all of them
        else:
            self._reads += len(content) / MIN_BYTES_PER_READ
        self._packed -= content[4:] in _PACKED  # a chunk's length and type are read by themselves
        if self._packed < 0:
            raise BrokenImage(f"the image has more than {MAX_PACKED} packed texts and profiles")
        if min(self._reads, self._bytes, self._exif_bytes) < 0:
            raise BrokenImage("the image's header is too long" if self.in_header else "the image is in too many small pieces")
        return content


class _OneFrame:
    """A WebP's decoder that is freed once it has given one frame: with the file, and two canvases of four bytes a pixel."""

    def __init__(self, decoder: Any) -> None:  # noqa: ANN401  # Pillow's, which has no types
        self._decoder = decoder

    def get_next(self) -> tuple[bytes, int] | None:
        """The frame and its time stamp; None if it is damaged."""
        decoder, self._decoder = self._decoder, None
        frame: tuple[bytes, int] | None = decoder.get_next()
        return frame

    def reset(self) -> None:
        """Nothing: Pillow asks for it when the frame is damaged, and does not go on."""


@dataclass(frozen=True)
class Upload:
    """An image whose header has been read and is within limits, and whose pixels are not decoded yet."""

    image: Image.Image
    reader: _Reader
    size: tuple[int, int]  # (width, height) by the header: the decoded image may have them swapped, by its EXIF orientation
    decoded_pixels: int  # more than the image has, where tiles of a TIFF reach beyond its borders

    def close(self) -> None:
        """Free the pixels, and what Pillow keeps of a WebP even when its image is closed: the file, and two canvases."""
        self.image.close()
        if isinstance(self.image, WebPImagePlugin.WebPImageFile):
            self.image._decoder = None


def open_image(file: BinaryIO, max_pixels: int) -> Upload:
    """Read the header of a JPEG, PNG, WebP or TIFF; the format is decided by content.

    Raises BrokenImage, UnsupportedImage or TooManyPixels. No pixel is decoded.
    """
    file.seek(0)
    start = file.read(_PNG_INTERLACED + 1)  # more than the signature has
    if not start:
        raise BrokenImage("the image is empty")
    file.seek(0)
    try:
        is_tiff = start[:2] in ORDERS and _SIGNATURE.match(start)
        decoded_pixels = tiff_pixels(file, max_pixels) if is_tiff else 0
        file.seek(0)
        reader = _Reader(file)
        image = Image.open(cast(BinaryIO, reader), formats=FORMATS)
        reader.in_header = False
        _check(image, max_pixels)
        if image.format in ("JPEG", "MPO"):
            if has_too_many_scans(file, most := most_scans(prod(image.size))):
                raise UnsupportedImage(f"the JPEG has more than {most} scans")
            image.decodermaxblock = JPEG_READ_BYTES
        if isinstance(image, PngImagePlugin.PngImageFile):
            _mend_settings(image, start)
            _drop_metadata(image)  # not to be kept while the image waits for its turn
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # Of a TIFF of one page, Pillow would read the directories of EXIF and GPS, which are not needed here, and make an
            # object of each of their values: 32 MB took half a minute and 2 GB.
            image.is_animated = True
    except (BrokenImage, TooManyPixels, UnsupportedImage, MemoryError):
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, which Pillow checks before the size is known here
        raise TooManyPixels(f"the image has more than {PILLOW_MAX_PIXELS} pixels", max_pixels) from None
    except UnidentifiedImageError:
        raise _unidentified(file, start) from None
    except Exception as error:  # Pillow's parsers raise many types on damaged files
        raise BrokenImage(f"the image cannot be read: {error}") from error
    return Upload(image, reader, image.size, decoded_pixels or prod(image.size))


def _check(image: Image.Image, max_pixels: int) -> None:
    """Check the header against the limits. Raises as `open_image` does."""
    width, height = image.size
    if width * height == 0:
        raise BrokenImage("the image has no pixels")
    if width * height > max_pixels:
        raise TooManyPixels(f"the image has {width * height} pixels", max_pixels)
    if max(width, height) > MAX_SIDE:
        raise TooManyPixels(f"the image is {width}x{height}; for one side", MAX_SIDE)
    if image.mode in UNSUPPORTED_MODES:
        raise UnsupportedImage(UNSUPPORTED_MODES[image.mode])


def _mend_settings(image: PngImagePlugin.PngImageFile, start: bytes) -> None:
    """Take back what Pillow has taken from texts that are named as its own entries; `start` is the file's."""
    if isinstance(image.info.get("interlace"), str):
        image.info["interlace"] = start[_PNG_INTERLACED]
    if isinstance(image.info.get("bbox"), str):
        image.tile = [tile._replace(extents=(0, 0, *image.size)) for tile in image.tile]


def _drop_metadata(image: PngImagePlugin.PngImageFile) -> None:
    """Drop what a PNG, loaded or not, has of texts and profiles, except EXIF."""
    drop_text(image)
    for key in ("icc_profile", "xmp"):
        image.info.pop(key, None)
    if image.png is None:
        image.text.clear()
    else:
        image.png.im_text.clear()
        image.png.save_rewind()  # for animations, Pillow has copied the entries


def decode(upload: Upload, check: Callable[[], None]) -> Photo:
    """Decode the image to RGB. If that makes a converted copy, the upload's own image is closed.

    `check` is called before each read of the file, and raises when the work is cancelled. Raises BrokenImage or
    UnsupportedImage, and what `check` raises.
    """
    upload.reader.check = check
    if isinstance(upload.image, WebPImagePlugin.WebPImageFile):
        upload.image._decoder = _OneFrame(upload.image._decoder)
    try:
        photo = Photo.of(upload.image)
    except UnsupportedPixels as error:
        raise UnsupportedImage(str(error)) from error
    except (BrokenImage, MemoryError):
        raise
    except Exception as error:  # of any type, as in `open_image`: a damaged file is the cause
        check()
        raise BrokenImage(f"the image cannot be decoded: {error}") from error
    if isinstance(upload.image, PngImagePlugin.PngImageFile):
        _drop_metadata(upload.image)  # what came after the pixels
    if photo.stored is not upload.image:
        upload.close()
    return photo


def _unidentified(file: BinaryIO, start: bytes) -> BrokenImage | UnsupportedImage:
    """The error for a file that Pillow does not identify: of another format, damaged, or a TIFF with unsupported pixels."""
    if not _SIGNATURE.match(start):
        return UnsupportedImage("not a JPEG, PNG, WebP or TIFF image")
    if start.startswith(b"MM\0+"):
        return UnsupportedImage("big-endian BigTIFF is not supported")  # by Pillow
    if start[:2] in ORDERS:
        return UnsupportedImage("the TIFF's pixel layout is not supported")
    return BrokenImage("the image's header is damaged or cut short")
