"""Examines a split in more detail than `training.evaluate`: also outlines, and which images are segmented worst."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from service.metrics import ConfusionMatrix
from training.boundary import BoundaryScore
from training.data.reader import Reader, read_pair
from training.evaluate import Labeller


@dataclass(frozen=True)
class Example:
    """One image of a split with its true and estimated labels, all at the image's own size."""

    stem: str
    image: Image.Image
    truth: NDArray[np.uint8]
    estimate: NDArray[np.uint8]
    mean_iou: float  # of this image alone, over the classes present in it; NaN if all of it is void


@dataclass(frozen=True)
class Survey:
    """The results on a whole split."""

    confusion: ConfusionMatrix
    boundary: BoundaryScore
    ranked: tuple[str, ...]  # images from worst to best by their own mean IoU; images that are all void are left out


def examine(segmenter: Labeller, reader: Reader, stem: str, classes: int) -> Example:
    """Segment one image of a split and compare the result with its labels."""
    image, truth = read_pair(reader, stem)
    estimate = segmenter.labels(image)
    confusion = ConfusionMatrix(classes)
    confusion.update(truth, estimate)
    return Example(stem, image, truth, estimate, confusion.mean_iou)


def survey(segmenter: Labeller, reader: Reader, classes: int) -> Survey:
    """Examine every image of a split."""
    confusion, boundary, iou = ConfusionMatrix(classes), BoundaryScore(classes), {}
    for stem in tqdm(reader.stems(), desc="survey", unit="image", leave=False, mininterval=2):
        example = examine(segmenter, reader, stem, classes)
        confusion.update(example.truth, example.estimate)
        boundary.update(example.truth, example.estimate)
        iou[stem] = example.mean_iou
    return Survey(confusion, boundary, _ranked(iou))


def rank(segmenter: Labeller, reader: Reader, classes: int) -> tuple[str, ...]:
    """The order of `Survey.ranked`, without examining outlines."""
    stems = tqdm(reader.stems(), desc="rank", unit="image", leave=False, mininterval=2)
    return _ranked({stem: examine(segmenter, reader, stem, classes).mean_iou for stem in stems})


def _ranked(iou: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(sorted((stem for stem in iou if not math.isnan(iou[stem])), key=lambda stem: (iou[stem], stem)))
