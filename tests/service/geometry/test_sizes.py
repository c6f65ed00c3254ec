"""The network's input: its size, its padding, and where the image lies in it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.geometry import fitted, network_input, padded_size, working_size

sides = st.integers(1, 5000)
small = st.integers(1, 40)


@given(sides, sides, sides)
def test_the_working_size_has_its_long_side_exact_and_is_never_an_enlargement(width: int, height: int, long_side: int) -> None:
    working = working_size(width, height, long_side)
    assert max(working) == min(long_side, max(width, height))
    assert working[0] <= width and working[1] <= height
    assert min(working) >= 1


@given(sides, sides, sides)
def test_the_working_size_keeps_the_aspect_to_half_a_pixel(width: int, height: int, long_side: int) -> None:
    scale = min(1, long_side / max(width, height))
    for side, working in zip((width, height), working_size(width, height, long_side), strict=True):
        assert working == 1 or abs(working - side * scale) <= 0.5


@given(sides, sides, sides, sides)
def test_an_image_that_is_fitted_keeps_its_aspect(width: int, height: int, most_width: int, most_height: int) -> None:
    scale = min(1, most_width / width, most_height / height)
    found = fitted(width, height, most_width, most_height)
    assert found[0] <= most_width and found[1] <= most_height
    for side, shrunk in zip((width, height), found, strict=True):
        assert shrunk == 1 or abs(shrunk - side * scale) <= 0.5 + 1e-9


@given(sides, sides)
def test_without_a_long_side_the_working_size_is_the_image(width: int, height: int) -> None:
    assert working_size(width, height, None) == (width, height)


@given(sides, sides, st.integers(1, 64))
def test_padding_reaches_the_next_multiple_and_no_further(width: int, height: int, stride: int) -> None:
    for side, padded in zip((width, height), padded_size(width, height, stride), strict=True):
        assert padded % stride == 0
        assert 0 <= padded - side < stride


@given(small, small, st.integers(1, 16), st.integers(0, 255))
def test_the_input_is_the_image_at_the_upper_left_of_padding(width: int, height: int, stride: int, pad: int) -> None:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = network_input(Image.fromarray(pixels), (width, height), stride, pad)
    padded_width, padded_height = padded_size(width, height, stride)
    assert result.shape == (1, padded_height, padded_width, 3)
    assert result.dtype == np.uint8
    assert (result[0, :height, :width] == pixels).all()
    assert (result[0, height:] == pad).all()
    assert (result[0, :, width:] == pad).all()


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    inside = network_input(Image.fromarray(stripes), (8, 8), 8, 0)[0, 2:-2, 2:-2].astype(int)
    assert (abs(inside - 127) <= 4).all()
