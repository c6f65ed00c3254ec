"""The interface of every reader of labelled data, whatever the layout of the files."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from service.geometry import upright_rgb
from training.errors import InputError

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")  # the formats that the service accepts


class MissingSplit(InputError):
    """The data set has no such split: its list or folder is missing."""


class Reader(Protocol):
    """One split of a labelled data set. Unfit data raise an InputError that names the file; a reader never guesses."""

    def stems(self) -> list[str]:
        """Names of the images, in a fixed order. Raises MissingSplit."""
        ...

    def files(self, stem: str) -> tuple[str, str]:
        """Where the photo and its labels are stored: for messages."""
        ...

    def photo(self, stem: str) -> bytes:
        """The photo's file, as stored. Raises OSError or InputError if there is none."""
        ...

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8 of the upright photo: class ids, and `service.metrics.VOID`.

        Raises InputError if the mask is missing, unreadable, or holds a value that is no class.
        """
        ...


def open_photo(content: bytes) -> Image.Image:
    """A JPEG, PNG, WebP or TIFF, not yet turned upright and its pixels not yet read. Raises OSError.

    Pillow gets the bytes: given a path, Pillow 13 maps an uncompressed grey TIFF into memory and rotates it twice.
    """
    return open_image(content, PHOTO_FORMATS)


def open_image(content: bytes, formats: tuple[str, ...]) -> Image.Image:
    """An image in one of `formats`, its pixels not yet read. Raises an OSError that says what people can act on.

    Pillow's own message shows the address of an object in memory instead.
    """
    if not content:
        raise UnidentifiedImageError("the file is empty")
    try:
        return Image.open(io.BytesIO(content), formats=formats)
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(f"it is damaged, or none of {', '.join(formats)}") from error


def require_utf8(path: Path) -> None:
    """Raises InputError if the path's last part is no text in UTF-8: weights files, tables and pages could not hold it."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path.parent} holds {os.fsencode(path.name)!r}, which is no name in UTF-8: rename it") from error


def read_upright(reader: Reader, stem: str) -> Image.Image:
    """One image of a split, upright and in RGB. Raises InputError if it is missing or unreadable."""
    with stored_image(reader, stem) as stored:
        return upright_rgb(stored)[0]


@contextmanager
def stored_image(reader: Reader, stem: str) -> Iterator[Image.Image]:
    """One image of a split as stored, its pixels not yet read. Errors in the block become InputErrors that name the file."""
    with naming(reader.files(stem)[0]), open_photo(reader.photo(stem)) as stored:
        yield stored


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Turn an error in the block, other than MemoryError, into an InputError that names the image file."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing") from error
    except Exception as error:  # Pillow's parsers raise many types on damaged files
        raise InputError(f"{file} cannot be read: {error}") from error


def read_pair(reader: Reader, stem: str) -> tuple[Image.Image, NDArray[np.uint8]]:
    """An image of a split, upright and in RGB, and its (H, W) uint8 labels. Raises InputError, also if their sizes differ."""
    image, labels = read_upright(reader, stem), reader.labels(stem)
    height, width = labels.shape
    if image.size != (width, height):
        photo, mask = reader.files(stem)
        raise InputError(
            f"{photo} is {image.width}x{image.height} pixels as a person sees it (EXIF rotation applied), "
            f"its mask {mask} is {width}x{height}"
        )
    return image, labels
