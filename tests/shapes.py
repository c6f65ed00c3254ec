"""A made-up data set in VOC's layout: discs, squares and triangles that play cats, dogs and horses."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = (160, 128)  # width, height
COLORS = {8: (200, 60, 50), 12: (50, 80, 200), 13: (60, 170, 70)}  # by VOC id: cat, dog, horse
CLASS_OF_VOC_ID = {0: 0, 8: 1, 12: 3, 13: 4}  # the animals model's own ids


def draw_shapes(random: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A noisy RGB photo with one shape of each kind, and its mask of VOC ids (mode L)."""
    noise = random.integers(90, 170, (SIZE[1], SIZE[0], 1), dtype=np.uint8)
    photo, mask = Image.fromarray(np.repeat(noise, 3, 2)), Image.new("L", SIZE, 0)
    for voc_id in random.permutation(list(COLORS)).tolist():
        side = int(random.integers(40, 60))
        left, top = int(random.integers(SIZE[0] - side)), int(random.integers(SIZE[1] - side))
        box = (left, top, left + side, top + side)
        for canvas, ink in ((ImageDraw.Draw(photo), COLORS[voc_id]), (ImageDraw.Draw(mask), voc_id)):
            if voc_id == 8:
                canvas.ellipse(box, fill=ink)
            elif voc_id == 12:
                canvas.rectangle(box, fill=ink)
            else:
                canvas.polygon(((left, top + side), (left + side, top + side), (left + side // 2, top)), fill=ink)
    return photo, mask


def write_shapes(root: Path, train: int, val: int, seed: int = 0) -> Path:
    """Write `train` and `val` images below `root`; returns `root`."""
    random = np.random.default_rng(seed)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        stems = [f"{split}{number:03}" for number in range(count)]
        for stem in stems:
            photo, mask = draw_shapes(random)
            photo.save(root / "JPEGImages" / f"{stem}.jpg", quality=95)
            mask.save(root / "SegmentationClass" / f"{stem}.png")
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(stems))
    return root


def model_labels(mask: Image.Image) -> NDArray[np.uint8]:
    """The mask in the animals model's own class ids."""
    table = np.zeros(256, np.uint8)
    for voc_id, class_id in CLASS_OF_VOC_ID.items():
        table[voc_id] = class_id
    result: NDArray[np.uint8] = table[np.asarray(mask)]
    return result
