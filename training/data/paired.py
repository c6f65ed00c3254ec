"""Reads a folder of images and a folder of masks: the mask of `images/a.jpg` is `masks/a.png`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.masks import MASK_SUFFIXES, read_mask
from training.data.reader import MissingSplit, open_photo
from training.errors import InputError

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

    def image(self, stem: str) -> Image.Image:
        """The photo as stored, not yet turned upright. Raises InputError if there is none."""
        if stem not in self._photos:
            raise InputError(
                f"{self._masks[stem]} has no photo: there is no {self.images / stem} with .jpg, .png, .webp or .tif"
            )
        return open_photo(self._photos[stem])

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: class ids, and VOID. Raises InputError."""
        if stem not in self._masks:
            raise InputError(f"{self._photos[stem]} has no mask: there is no {self.masks / stem} with .png or .tif")
        path = self._masks[stem]
        return self.decode(read_mask(path), str(path))

    @cached_property
    def _photos(self) -> dict[str, Path]:
        return _by_stem(self.images, IMAGE_SUFFIXES)

    @cached_property
    def _masks(self) -> dict[str, Path]:
        return _by_stem(self.masks, MASK_SUFFIXES)


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files by their stems. Raises MissingSplit if there is no such folder, InputError for two files with one stem."""
    if not folder.is_dir():
        raise MissingSplit(f"{folder} is no folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise InputError(f"{found[path.stem]} and {path.name} have the same name: which one counts?")
        found[path.stem] = path
    return found
