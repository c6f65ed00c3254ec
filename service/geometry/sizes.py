"""From an upright RGB image to the network's input: the working size, and padding."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def working_size(width: int, height: int, long_side: int | None) -> tuple[int, int]:
    """(width, height) at which the network sees an image: long side at most `long_side`, never enlarged.

    If `long_side` is None, it is the image's own size. Neither side becomes less than 1 pixel.
    """
    return (width, height) if long_side is None else fitted(width, height, long_side, long_side)


def fitted(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """(width, height) shrunk to fit the given maxima, aspect kept; never enlarged. Neither side becomes less than 1 pixel."""
    if width <= most_width and height <= most_height:
        return width, height
    if width * most_height >= height * most_width:
        return most_width, max(1, round(height * most_width / width))
    return max(1, round(width * most_height / height)), most_height


def padded_size(width: int, height: int, stride: int) -> tuple[int, int]:
    """(width, height) rounded up to multiples of `stride`."""
    return -(-width // stride) * stride, -(-height // stride) * stride


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image resized to `size` (width, height), antialiased; the same object if it has that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def network_input(image: Image.Image, size: tuple[int, int], stride: int, pad_value: int) -> NDArray[np.uint8]:
    """Upright RGB image -> (1, H, W, 3) uint8: resized to `size` (width, height), padded right and bottom."""
    return padded(resized(image, size), padded_size(*size, stride), pad_value)


def padded(image: Image.Image, size: tuple[int, int], pad_value: int) -> NDArray[np.uint8]:
    """RGB image -> (1, H, W, 3) uint8, padded right and bottom to `size` (width, height)."""
    if image.size == size:
        return np.asarray(image)[None]
    pixels = np.full((1, size[1], size[0], 3), pad_value, np.uint8)
    pixels[0, : image.height, : image.width] = np.asarray(image)
    return pixels
