"""Reads SBD, the Semantic Boundaries Dataset (Hariharan et al., "Semantic contours from inverse detectors", ICCV 2011).

Files in benchmark_RELEASE: dataset/img/*.jpg, dataset/cls/*.mat, dataset/<split>.txt.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from training.data.masks import translate
from training.data.voc import VOC_CLASSES, read_list
from training.errors import InputError


@dataclass(frozen=True)
class SbdReader:
    """Pairs of image and label map of one split, in VOC's 21 classes. SBD has no void."""

    root: Path  # benchmark_RELEASE
    split: str

    def stems(self) -> list[str]:
        """Ids of the split's images, in the list's order. Raises MissingSplit if there is no such list."""
        return read_list(self.root / "dataset" / f"{self.split}.txt")

    def files(self, stem: str) -> tuple[str, str]:
        """Where the photo and its labels are stored: for messages."""
        return str(self._photo(stem)), str(self._mask(stem))

    def photo(self, stem: str) -> bytes:
        """The photo's file, as stored. Raises OSError if there is none."""
        return self._photo(stem).read_bytes()

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: VOC's class ids. Raises InputError."""
        path = self._mask(stem)
        try:
            stored = scipy.io.loadmat(io.BytesIO(path.read_bytes()), variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"]
        except FileNotFoundError as error:
            raise InputError(f"the mask {path} is missing") from error
        except Exception as error:  # scipy raises many types on files that are not the expected MATLAB files
            raise InputError(f"the mask {path} cannot be read as MATLAB file with GTcls.Segmentation: {error}") from error
        return translate(stored, str(path), {voc_id: voc_id for voc_id in range(len(VOC_CLASSES))})

    def _photo(self, stem: str) -> Path:
        return self.root / "dataset" / "img" / f"{stem}.jpg"

    def _mask(self, stem: str) -> Path:
        return self.root / "dataset" / "cls" / f"{stem}.mat"
