"""What every reader of labelled data offers, whatever the layout of its files."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.geometry import upright_rgb


class Reader(Protocol):
    """One split of a labelled data set."""

    def stems(self) -> list[str]:
        """Names of the images, in a fixed order."""
        ...

    def image(self, stem: str) -> Image.Image:
        """The photo as stored, not yet turned upright."""
        ...

    def labels(self, stem: str) -> NDArray[np.uint8]:
        """(H, W) uint8: class ids, and `service.metrics.VOID`."""
        ...


def read_upright(reader: Reader, stem: str) -> Image.Image:
    """One image of a split, RGB, as a person sees it."""
    with reader.image(stem) as stored:
        return upright_rgb(stored)[0]
