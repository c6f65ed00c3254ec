"""Photos that come with scikit-image: chelsea (a cat, CC0), astronaut (public domain), coffee (CC0) and others."""

from pathlib import Path

import skimage
from PIL import Image


def photo(name: str) -> Image.Image:
    """A packaged picture, by its file name, as RGB."""
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        return image.convert("RGB")
