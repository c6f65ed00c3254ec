"""Reads a folder of images and a folder of masks: the mask of `images/a.jpg` is `masks/a.png`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.masks import MASK_SUFFIXES, read_mask
from training.data.reader import MissingSplit, require_utf8
from training.errors import InputError
from training.wording import counted

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")

Decoder = Callable[[Image.Image, str], NDArray[np.uint8]]  # a mask and its name -> (H, W) class ids; raises InputError


@dataclass(frozen=True)
class PairedReader:
    """Pairs of image and mask with the same stem. Reading an image without a mask, or the reverse, raises InputError."""

    images: Path
    masks: Path
    decode: Decoder
    chosen: frozenset[str] | None = None  # stems of this split; None: all

    def stems(self) -> list[str]:
        """The stems of all photos and masks, sorted. Raises MissingSplit if a folder is missing."""
        found = set(self._photos) | set(self._masks)
        return sorted(found if self.chosen is None else found & self.chosen)

    def files(self, stem: str) -> tuple[str, str]:
        """Where the photo and its labels are stored: for messages."""
        photo = self._photos.get(stem, self.images / f"{stem}.jpg")
        return str(photo), str(self._masks.get(stem, self.masks / f"{stem}.png"))

    def photo(self, stem: str) -> bytes:
        """The photo's file, as stored. Raises OSError, or InputError if there is none."""
        if stem not in self._photos:
            raise InputError(
                f"{self._masks[stem]} has no photo: there is no {self.images / stem} with .jpg, .png, .webp or .tif"
            )
        return self._photos[stem].read_bytes()

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: class ids, and VOID. Raises InputError."""
        if stem not in self._masks:
            raise InputError(f"{self._photos[stem]} has no mask: there is no {self.masks / stem} with .png or .tif")
        path = self._masks[stem]
        return self.decode(read_mask(path), str(path))

    def unread(self) -> list[str]:
        """A line for each of the two folders that holds files of other kinds, or folders: somebody may miss them."""
        found = [_unread(self.images, IMAGE_SUFFIXES), _unread(self.masks, MASK_SUFFIXES)]
        return [line for line in found if line]

    @cached_property
    def _photos(self) -> dict[str, Path]:
        return _by_stem(self.images, IMAGE_SUFFIXES)

    @cached_property
    def _masks(self) -> dict[str, Path]:
        return _by_stem(self.masks, MASK_SUFFIXES)


def is_read(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file in a folder of images counts: hidden ones do not, such as macOS leaves on disks of other systems."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files by their stems. Raises MissingSplit if there is no such folder, InputError for a stem that cannot serve as a name.

    That is one that two files have, or one that is no text in UTF-8.
    """
    if not folder.is_dir():
        raise MissingSplit(f"{folder} is no folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_read(path, suffixes):
            continue
        require_utf8(path)
        stem = normalize("NFC", path.stem)  # as most systems encode an accented letter; macOS may store it as two characters
        if stem in found:
            raise InputError(f"{found[stem]} and {path.name} have the same name: which one counts?")
        found[stem] = path
    return found


def _unread(folder: Path, suffixes: tuple[str, ...]) -> str:
    """What `_by_stem` passes over, apart from hidden files; empty if there is nothing."""
    others = [path for path in folder.iterdir() if path.suffix.lower() not in suffixes and not path.name.startswith(".")]
    folders = sum(path.is_dir() for path in others)
    files = len(others) - folders
    kinds = sorted({ascii(path.suffix.lower())[1:-1] or "no ending" for path in others if not path.is_dir()})
    told = [f"{counted(files, 'file')} ({', '.join(kinds)})"] if files else []
    told += [counted(folders, "folder")] if folders else []
    return f"{folder} holds what is not read: {', '.join(told)}" if told else ""
