"""Crops: pixels and labels move together, and the same address gives the same crop."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.metrics import VOID
from training.data.augment import Augmentation, jitter_colors, random_crop
from training.data.batches import CropDataset, ResumableSampler
from training.data.datasets import DATASETS

PAD = 7  # a value that the test images do not hold

sizes = st.tuples(st.integers(2, 90), st.integers(2, 90))
seeds = st.integers(0, 2**32 - 1)


def quadrants(width: int, height: int) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Labels 0..3 by quadrant; red tells left from right, green top from bottom."""
    right = np.arange(width) >= width // 2
    below = np.arange(height) >= height // 2
    labels = (right[None, :] + 2 * below[:, None]).astype(np.uint8)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.where(right, 220, 20)
    pixels[..., 1] = np.where(below, 220, 20)[:, None]
    return Image.fromarray(pixels), labels


@given(size=sizes, seed=seeds, flip=st.booleans())
def test_labels_and_pixels_move_together(size: tuple[int, int], seed: int, flip: bool) -> None:
    image, labels = quadrants(*size)
    how = Augmentation(crop=(48, 40), flip=float(flip), jitter=0)
    pixels, target = random_crop(image, labels, how, PAD, np.random.default_rng(seed))
    inside = target != VOID
    seen = (pixels[..., 0] > 120) + 2 * (pixels[..., 1] > 120)
    wrong = (seen != target) & inside
    # Bilinear pixels and nearest labels may round the one boundary row and the one boundary column differently.
    assert len(np.unique(np.nonzero(wrong & ((seen ^ target) & 1 > 0))[1])) <= 1
    assert len(np.unique(np.nonzero(wrong & ((seen ^ target) & 2 > 0))[0])) <= 1


@given(size=sizes, seed=seeds)
def test_outside_the_image_is_padding_and_void_and_inside_is_neither(size: tuple[int, int], seed: int) -> None:
    image, labels = quadrants(*size)
    pixels, target = random_crop(image, labels, Augmentation(crop=(48, 40), jitter=0), PAD, np.random.default_rng(seed))
    assert ((pixels == PAD).all(2) == (target == VOID)).all()
    rows, columns = np.nonzero(target != VOID)
    box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    assert (target[box] != VOID).all()  # one rectangle
    parts = zip(size, target[box].shape[::-1], (48, 40), strict=True)
    assert all(0.5 * side - 1 <= part for side, part, room in parts if part < room)


def test_void_labels_stay_void() -> None:
    image, labels = quadrants(60, 60)
    labels[:] = VOID
    _, target = random_crop(image, labels, Augmentation(crop=(32, 24)), PAD, np.random.default_rng(0))
    assert (target == VOID).all()


@given(seed=seeds)
def test_a_flip_mirrors_pixels_and_labels(seed: int) -> None:
    image, labels = quadrants(64, 50)
    crops = [
        random_crop(image, labels, Augmentation(crop=(32, 24), flip=chance), PAD, np.random.default_rng(seed))
        for chance in (0.0, 1.0)
    ]
    for plain, mirrored in zip(*crops, strict=True):
        assert (plain[:, ::-1] == mirrored).all()


def test_quarter_turns_move_pixels_and_labels_together_and_come_all_four() -> None:
    image, labels = quadrants(48, 48)
    how = Augmentation(crop=(48, 48), scale=(1, 1), flip=0, turns=True, jitter=0)
    seen = set()
    for seed in range(40):
        pixels, target = random_crop(image, labels, how, PAD, np.random.default_rng(seed))
        assert ((pixels[..., 0] > 120) + 2 * (pixels[..., 1] > 120) == target).all()
        seen.add(tuple(target[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()))
    assert seen == {(0, 1, 2, 3), (1, 3, 0, 2), (3, 2, 1, 0), (2, 0, 3, 1)}


def test_jitter_of_no_strength_changes_nothing_and_of_some_strength_something() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    still = jitter_colors(pixels, 0.0, np.random.default_rng(0)).astype(int)
    moved = jitter_colors(pixels, 0.4, np.random.default_rng(0)).astype(int)
    assert abs(still - pixels).max() <= 1  # rounding
    assert abs(moved - pixels).mean() > 5


def test_an_address_gives_one_crop_whatever_was_read_before(shapes: Path) -> None:
    crops = [CropDataset(DATASETS["voc-animals"].train(shapes), Augmentation(crop=(32, 24)), PAD, seed) for seed in (0, 0, 1)]
    crops[1][0, 1]
    first, again, other_seed = (dataset[3, 2] for dataset in crops)
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[0] != other_seed[0]).any()
    assert (first[0] != crops[0][4, 2][0]).any()


def test_a_later_start_yields_the_rest_of_the_same_batches() -> None:
    everything = list(ResumableSampler(10, 3, 4, seed=5, first_step=0))
    assert len(everything) == 12
    for step in range(13):
        assert list(ResumableSampler(10, 3, 4, seed=5, first_step=step)) == everything[step:]


def test_an_epoch_shows_no_image_twice_and_each_epoch_has_its_own_order() -> None:
    batches = list(ResumableSampler(10, 3, 2, seed=0, first_step=0))
    epochs = [[address for batch in batches[start : start + 3] for address in batch] for start in (0, 3)]
    orders = [[index for _, index in epoch] for epoch in epochs]
    assert all(len(set(order)) == 9 for order in orders)
    assert orders[0] != orders[1]
    assert [{epoch for epoch, _ in addresses} for addresses in epochs] == [{0}, {1}]


def test_a_data_set_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="one batch of 3 takes more than 2 images"):
        ResumableSampler(2, 3, 1, seed=0, first_step=0)


@given(size=sizes, seed=seeds)
def test_whole_images_keep_every_pixel_and_are_padded_right_and_bottom(size: tuple[int, int], seed: int) -> None:
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    labels = pixels[..., 0] % 7
    how = Augmentation(crop=None, scale=(1, 1), flip=0, jitter=0)
    found, target = random_crop(Image.fromarray(pixels), labels, how, PAD, np.random.default_rng(seed))
    assert target.shape == found.shape[:2] == (-(-height // 32) * 32, -(-width // 32) * 32)
    assert (found[:height, :width] == pixels).all()
    assert (target[:height, :width] == labels).all()
    for side in (np.s_[height:], np.s_[:, width:]):
        assert (found[side] == PAD).all()
        assert (target[side] == VOID).all()


def test_whole_images_of_a_batch_are_padded_to_the_largest(tmp_path: Path) -> None:
    sizes = {"a": (70, 20), "b": (30, 90)}
    for stem, (width, height) in sizes.items():
        for folder, mode in (("images", "RGB"), ("masks", "L")):
            (tmp_path / "train" / folder).mkdir(parents=True, exist_ok=True)
            Image.new(mode, (width, height)).save(tmp_path / "train" / folder / f"{stem}.png")
    how = Augmentation(crop=None, scale=(1, 1), flip=0, jitter=0)
    batch = CropDataset(DATASETS["nuclei"].train(tmp_path), how, PAD, 0).__getitems__([(0, 0), (0, 1)])
    for (pixels, labels), (width, height) in zip(batch, sizes.values(), strict=True):
        assert pixels.shape == (3, 96, 96)
        assert (labels != VOID).nonzero().max(0).values.tolist() == [height - 1, width - 1]
        assert ((pixels == PAD).all(0) == (labels == VOID)).all()
