"""Looking at an image several times."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.checkpoint import Checkpoint
from training.evaluate import AugmentedSegmenter, Segmenter, torch_segmenter

STRIDE = 8


def left_or_right(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores of a model that calls the left half of whatever it sees class 0 and the right half class 1, for sure."""
    cells = image.shape[1] // STRIDE, image.shape[2] // STRIDE
    right = np.broadcast_to(np.arange(cells[1]) >= cells[1] / 2, cells)
    return np.stack([~right, right]).astype(np.float32)[None] * 20


def brighter(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores of a model that tells bright from dark, whichever way it looks."""
    shape = (1, image.shape[1] // STRIDE, STRIDE, image.shape[2] // STRIDE, STRIDE)
    bright = image[..., 0].reshape(shape).mean((2, 4), dtype=np.float32) / 255
    return np.stack([1 - bright, bright], 1) * 9


def model(scores: object) -> Segmenter:
    return Segmenter(scores, None, 0, STRIDE, STRIDE)  # type: ignore[arg-type]


PHOTO = Image.fromarray(np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2))


def test_an_image_above_the_long_side_is_seen_smaller_and_labelled_at_its_own_size() -> None:
    seen: list[tuple[int, ...]] = []

    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(image.shape)
        return left_or_right(image)

    labels = Segmenter(scores, 64, 0, STRIDE, STRIDE).labels(Image.new("RGB", (256, 128)))
    assert seen == [(1, 32, 64, 3)]
    assert labels.shape == (128, 256)
    assert (labels[:, :128] == 0).all()
    assert (labels[:, 128:] == 1).all()


def test_one_plain_look_is_the_model_itself(checkpoint: Checkpoint) -> None:
    segmenter = torch_segmenter(checkpoint.network, checkpoint.preset)
    assert (AugmentedSegmenter(segmenter, False, (1.0,)).labels(PHOTO) == segmenter.labels(PHOTO)).all()


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 1.5)])
def test_mirror_images_are_turned_back(scales: tuple[float, ...]) -> None:
    labels = AugmentedSegmenter(model(brighter), True, scales).labels(PHOTO)
    assert (labels[:, :28] == 0).all()
    assert (labels[:, 36:] == 1).all()


def test_looks_that_contradict_each_other_are_averaged() -> None:
    labels = AugmentedSegmenter(model(left_or_right), True, (1.0,)).labels(PHOTO)
    assert (labels == 0).all()  # every pixel is both: a tie, which goes to the lowest class
