"""Readers of data sets that list each split in a file: VOC's and SBD's layouts."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from training.data.reader import MissingSplit
from training.errors import InputError


@dataclass(frozen=True)
class ListedReader:
    """The part of a reader that finds the files; a layout adds the paths, and how its labels are read."""

    LIST: ClassVar[str]  # path in `root`, with {} for the split
    PHOTO: ClassVar[str]  # path in `root`, with {} for the image's id
    LABELS: ClassVar[str]  # likewise

    root: Path
    split: str

    def stems(self) -> list[str]:
        """Ids of the split's images, in the list's order. Raises MissingSplit if there is no such list."""
        return read_list(self.root / self.LIST.format(self.split))

    def files(self, stem: str) -> tuple[str, str]:
        """Where the photo and its labels are stored: for messages."""
        return str(self.photo_path(stem)), str(self.labels_path(stem))

    def photo(self, stem: str) -> bytes:
        """The photo's file, as stored. Raises OSError if there is none."""
        return self.photo_path(stem).read_bytes()

    def photo_path(self, stem: str) -> Path:
        """Where the photo is stored."""
        return self.root / self.PHOTO.format(stem)

    def labels_path(self, stem: str) -> Path:
        """Where the labels are stored."""
        return self.root / self.LABELS.format(stem)


def read_list(path: Path) -> list[str]:
    """The names in a split's list, one per line. Raises MissingSplit if there is no such file, InputError if it is no text."""
    try:
        return path.read_text("utf-8-sig").split()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingSplit(f"no list of the split's images: {path} is missing") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8") from error
