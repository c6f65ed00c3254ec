"""What every reader of labelled data offers, whatever the layout of its files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.geometry import upright_rgb
from training.errors import InputError

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # those that the service takes


class MissingSplit(InputError):
    """The data set has no such split: no list, no folder."""


class Reader(Protocol):
    """One split of a labelled data set. What does not fit is an InputError that names the file, never a guess."""

    def stems(self) -> list[str]:
        """Names of the images, in a fixed order. Raises MissingSplit."""
        ...

    def files(self, stem: str) -> tuple[str, str]:
        """Where the photo and its labels are stored: for messages."""
        ...

    def image(self, stem: str) -> Image.Image:
        """The photo as stored, not yet turned upright. Raises OSError or InputError if there is none."""
        ...

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8 of the upright photo: class ids, and `service.metrics.VOID`.

        Raises InputError if the mask is missing, unreadable, or holds what is no class.
        """
        ...


def open_photo(path: Path) -> Image.Image:
    """A JPEG, PNG, WebP or TIFF as stored. Raises OSError.

    From memory: given a path, Pillow 13 maps an uncompressed grey TIFF into memory and turns it twice.
    """
    return Image.open(io.BytesIO(path.read_bytes()), formats=PHOTO_FORMATS)


def read_upright(reader: Reader, stem: str) -> Image.Image:
    """One image of a split, RGB, as a person sees it. Raises InputError if it is missing or unreadable."""
    with stored_image(reader, stem) as stored:
        return upright_rgb(stored)[0]


@contextmanager
def stored_image(reader: Reader, stem: str) -> Iterator[Image.Image]:
    """One image of a split as stored, its pixels not yet read; what is wrong with it in the block is an InputError."""
    with naming(reader.files(stem)[0]), reader.image(stem) as stored:
        yield stored


@contextmanager
def naming(file: str) -> Iterator[None]:
    """What goes wrong with an image file in the block is an InputError that names it."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing") from error
    except Exception as error:  # Pillow's parsers raise many types on damaged files
        raise InputError(f"{file} cannot be read: {error}") from error


def read_pair(reader: Reader, stem: str) -> tuple[Image.Image, NDArray[np.uint8]]:
    """An image of a split as a person sees it, and its (H, W) labels. Raises InputError, also if their sizes differ."""
    image, labels = read_upright(reader, stem), reader.labels(stem)
    height, width = labels.shape
    if image.size != (width, height):
        photo, mask = reader.files(stem)
        raise InputError(
            f"{photo} is {image.width}x{image.height} pixels as a person sees it (EXIF rotation applied), "
            f"its mask {mask} is {width}x{height}"
        )
    return image, labels
