"""From the bytes of an upload to an upright RGB image: limits first, pixels after."""

from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from service.geometry import UnsupportedPixels, upright_rgb

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # Pillow registers 43 parsers; each is a door
MAX_BANDS = 4
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNATURE_BYTES = max(map(len, _SIGNATURES))
_SAMPLES_PER_PIXEL = 277  # TIFF tag


class BrokenImage(ValueError):
    """Empty, truncated or damaged bytes."""


class UnsupportedImage(ValueError):
    """Not one of the accepted formats, or pixels without a defined meaning."""


class TooManyPixels(ValueError):
    """An image larger than the limit, by its header."""

    def __init__(self, pixels: int, limit: int) -> None:
        super().__init__(f"the image has {pixels} pixels, the limit is {limit}")
        self.limit = limit


@dataclass(frozen=True)
class Upload:
    """An image whose header has been read and found within limits, and whose pixels have not."""

    image: Image.Image
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
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:  # Pillow's own limit, which it checks before we can see the size
        raise TooManyPixels(2 * (Image.MAX_IMAGE_PIXELS or 0), max_pixels) from None
    except UnidentifiedImageError:
        raise _unidentified(file, start) from None
    except Exception as error:  # Pillow's parsers raise many types on damaged files
        raise BrokenImage(f"the image cannot be read: {error}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixels(width * height, max_pixels)
    if width * height == 0:
        raise BrokenImage("the image has no pixels")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) > MAX_BANDS:
        raise UnsupportedImage(f"the TIFF has more than {MAX_BANDS} bands")
    if image.mode == "F":
        raise UnsupportedImage("floating-point pixels have no defined range; convert them to 8 or 16 bits")
    return Upload(image, (width, height))


def decode(upload: Upload) -> tuple[Image.Image, int]:
    """The upright RGB image and the EXIF orientation it was stored in. Raises BrokenImage or UnsupportedImage."""
    try:
        return upright_rgb(upload.image)
    except UnsupportedPixels as error:
        raise UnsupportedImage(str(error)) from error
    except Exception as error:  # as above: whatever a damaged file makes Pillow raise, it is the file's fault
        raise BrokenImage(f"the image cannot be decoded: {error}") from error


def _unidentified(file: BinaryIO, start: bytes) -> BrokenImage | UnsupportedImage:
    """Tell a damaged file from a TIFF that is whole but has no pixels we can show, and both from any other format."""
    if not start.startswith(_SIGNATURES):
        return UnsupportedImage("not a JPEG, PNG, WebP or TIFF image")
    try:
        file.seek(0)
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        bands = directory.get(_SAMPLES_PER_PIXEL, 1)
    except Exception:
        return BrokenImage("the image's header is damaged or cut short")
    if bands > MAX_BANDS:
        return UnsupportedImage(f"the TIFF has more than {MAX_BANDS} bands")
    return UnsupportedImage("the TIFF's pixel layout is not supported")
