"""Random crops of an image and its labels, changed together; and the data set that yields them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset, Sampler

from service.geometry import upright_rgb
from service.metrics import VOID
from training.data.datasets import Reader


@dataclass(frozen=True)
class Augmentation:
    """How a crop is drawn."""

    crop: int  # pixels along each side
    scale: tuple[float, float] = (0.5, 2.0)  # drawn log-uniformly
    flip: float = 0.5  # probability of mirroring left to right
    jitter: float = 0.4  # brightness, contrast and saturation are multiplied by 1 +- this


def random_crop(
    image: Image.Image, labels: NDArray[np.uint8], how: Augmentation, pad_value: int, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upright RGB image and (H, W) labels -> (crop, crop, 3) uint8 pixels and (crop, crop) uint8 labels.

    What lies outside the image is `pad_value` and VOID.
    """
    factor = np.exp(random.uniform(*np.log(how.scale)))
    scaled = [max(1, round(side * factor)) for side in image.size]
    kept = [min(side, how.crop) for side in scaled]  # size of the image's part in the crop
    start = [int(random.integers(side - part + 1)) for side, part in zip(scaled, kept, strict=True)]
    offset = [int(random.integers(how.crop - part + 1)) for part in kept]
    ratio = [side / big for side, big in zip(image.size, scaled, strict=True)]
    box = (start[0] * ratio[0], start[1] * ratio[1], (start[0] + kept[0]) * ratio[0], (start[1] + kept[1]) * ratio[1])

    pixels = np.full((how.crop, how.crop, 3), pad_value, np.uint8)
    target = np.full((how.crop, how.crop), VOID, np.uint8)
    window = (slice(offset[1], offset[1] + kept[1]), slice(offset[0], offset[0] + kept[0]))
    size = (kept[0], kept[1])
    part = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
    pixels[window] = jitter_colors(part, how.jitter, random)
    target[window] = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST, box=box))
    if random.random() < how.flip:
        pixels, target = pixels[:, ::-1], target[:, ::-1]
    return np.ascontiguousarray(pixels), np.ascontiguousarray(target)


def jitter_colors(pixels: NDArray[np.uint8], strength: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 with brightness, contrast and saturation each multiplied by a factor in 1 +- strength."""
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    values = pixels.astype(np.float32)
    grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
    values += (grey[..., None] - values) * (1 - saturation)
    values = ((values - grey.mean()) * contrast + grey.mean()) * brightness
    result: NDArray[np.uint8] = values.clip(0, 255).astype(np.uint8)
    return result


class CropDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Random crops, addressed by (epoch, index): the same address always gives the same crop."""

    def __init__(self, reader: Reader, how: Augmentation, pad_value: int, seed: int) -> None:
        self.reader, self.how, self.pad_value, self.seed = reader, how, pad_value, seed
        self.stems = reader.stems()

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, address: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """((3, crop, crop) uint8, (crop, crop) uint8); raises OSError for an unreadable file."""
        epoch, index = address
        random = np.random.default_rng((self.seed, epoch, index))
        stem = self.stems[index]
        with self.reader.image(stem) as stored:
            image, _ = upright_rgb(stored)
        pixels, labels = random_crop(image, self.reader.labels(stem), self.how, self.pad_value, random)
        return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(labels)


class ResumableSampler(Sampler[list[tuple[int, int]]]):
    """Batches of addresses for `CropDataset` from a given step on: shuffled anew each epoch, the short last batch left out."""

    def __init__(self, size: int, batch: int, epochs: int, seed: int, first_step: int) -> None:
        if size < batch:
            raise ValueError(f"{size} images do not fill one batch of {batch}")
        self.size, self.batch, self.seed, self.first_step = size, batch, seed, first_step
        self.steps_per_epoch = size // batch
        self.steps = epochs * self.steps_per_epoch

    def __len__(self) -> int:
        return self.steps - self.first_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.first_step, self.steps):
            epoch, position = divmod(step, self.steps_per_epoch)
            if position == 0 or step == self.first_step:
                order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
            chosen = order[position * self.batch : (position + 1) * self.batch]
            yield [(epoch, int(index)) for index in chosen]
