"""Data augmentation: random crops of an image and its labels, changed alike."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.geometry import padded_size
from service.metrics import VOID

COMMON_STRIDE = 32  # whole images are padded to a multiple of this, which every network's stride divides


@dataclass(frozen=True)
class Augmentation:
    """How a crop is drawn."""

    crop: tuple[int, int] | None  # width, height in pixels; None: whole images, padded right and bottom
    scale: tuple[float, float] = (0.5, 2.0)  # drawn log-uniformly
    flip: float = 0.5  # probability of mirroring left to right
    turns: bool = False  # rotate by 0, 90, 180 or 270 degrees; for images without an upright, in square crops
    jitter: float = 0.4  # brightness, contrast and saturation are each multiplied by a factor in 1 +- this

    @property
    def size(self) -> str:
        """What a step sees of an image, as text for people."""
        return "whole images" if self.crop is None else f"crops of {self.crop[0]}x{self.crop[1]} px"


def random_crop(
    image: Image.Image, labels: NDArray[np.uint8], augmentation: Augmentation, pad_value: int, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upright RGB image and (H, W) labels -> (H, W, 3) uint8 pixels and (H, W) uint8 labels of the crop's size.

    Outside the image, pixels are `pad_value` and labels are VOID.
    """
    factor = np.exp(random.uniform(*np.log(augmentation.scale)))
    scaled = [max(1, round(side * factor)) for side in image.size]
    crop = augmentation.crop or padded_size(scaled[0], scaled[1], COMMON_STRIDE)
    kept = [min(side, room) for side, room in zip(scaled, crop, strict=True)]  # size of the image's part in the crop
    start = [int(random.integers(side - part + 1)) for side, part in zip(scaled, kept, strict=True)]
    offset = [int(random.integers(room - part + 1)) if augmentation.crop else 0 for room, part in zip(crop, kept, strict=True)]
    ratio = [side / big for side, big in zip(image.size, scaled, strict=True)]
    box = (start[0] * ratio[0], start[1] * ratio[1], (start[0] + kept[0]) * ratio[0], (start[1] + kept[1]) * ratio[1])

    pixels = np.full((*crop[::-1], 3), pad_value, np.uint8)
    target = np.full(crop[::-1], VOID, np.uint8)
    window = (slice(offset[1], offset[1] + kept[1]), slice(offset[0], offset[0] + kept[0]))
    size = (kept[0], kept[1])
    part = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))
    pixels[window] = jitter_colors(part, augmentation.jitter, random) if augmentation.jitter else part
    target[window] = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST, box=box))
    if random.random() < augmentation.flip:
        pixels, target = pixels[:, ::-1], target[:, ::-1]
    if augmentation.turns:
        quarters = int(random.integers(4))
        pixels, target = np.rot90(pixels, quarters), np.rot90(target, quarters)
    return np.ascontiguousarray(pixels), np.ascontiguousarray(target)


def jitter_colors(pixels: NDArray[np.uint8], strength: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 with brightness, contrast and saturation each multiplied by a factor in 1 +- strength."""
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    values = pixels.astype(np.float32)
    grey = values @ np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601
    values += (grey[..., None] - values) * (1 - saturation)
    values = ((values - grey.mean()) * contrast + grey.mean()) * brightness
    result: NDArray[np.uint8] = values.clip(0, 255).astype(np.uint8)
    return result
