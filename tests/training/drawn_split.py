"""A split that is drawn, not photographed, and a segmenter that reads the estimate off the image's red channel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.service.helpers.pictures import encoded
from training.evaluate import Segmenter

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnSplit:
    """A reader of (truth, estimate) by name."""

    drawings: dict[str, tuple[Labels, Labels]]

    def stems(self) -> list[str]:
        return list(self.drawings)

    def files(self, stem: str) -> tuple[str, str]:
        return f"{stem}.jpg", f"{stem}.png"

    def photo(self, stem: str) -> bytes:
        _, estimate = self.drawings[stem]
        return encoded(Image.fromarray(np.stack([estimate, 255 - estimate, estimate], axis=-1)))

    def labels(self, stem: str) -> Labels:
        return self.drawings[stem][0]


def red_segmenter(classes: int) -> Segmenter:
    """The class of a pixel is its red value."""

    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        same: NDArray[np.bool_] = image[:, None, :, :, 0] == np.arange(classes)[:, None, None]
        return same.astype(np.float32)

    return Segmenter(scores, long_side=None, pad_value=0, stride=1, output_stride=1)
