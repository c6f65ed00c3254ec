"""Reads SBD, the Semantic Boundaries Dataset (Hariharan et al., "Semantic contours from inverse detectors", ICCV 2011).

Files in benchmark_RELEASE: dataset/img/*.jpg, dataset/cls/*.mat, dataset/<split>.txt.
"""

import io
from dataclasses import dataclass

import numpy as np
import scipy.io
from numpy.typing import NDArray

from training.data.listed import ListedReader
from training.data.masks import translate
from training.data.voc import VOC_CLASSES
from training.errors import InputError


@dataclass(frozen=True)
class SbdReader(ListedReader):
    """Pairs of image and label map of one split, in VOC's 21 classes; `root` is benchmark_RELEASE. SBD has no void."""

    LIST = "dataset/{}.txt"
    PHOTO = "dataset/img/{}.jpg"
    LABELS = "dataset/cls/{}.mat"

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: VOC's class ids. Raises InputError."""
        path = self.labels_path(stem)
        try:
            stored = scipy.io.loadmat(io.BytesIO(path.read_bytes()), variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"]
        except FileNotFoundError as error:
            raise InputError(f"the mask {path} is missing") from error
        except Exception as error:  # scipy raises many types on files that are not the expected MATLAB files
            raise InputError(f"the mask {path} cannot be read as MATLAB file with GTcls.Segmentation: {error}") from error
        return translate(stored, str(path), {voc_id: voc_id for voc_id in range(len(VOC_CLASSES))})
