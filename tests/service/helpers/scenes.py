"""Random scores of an image, and what all pixels' scores are."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.geometry import enlarge, padded_size

Scene = tuple[NDArray[np.float32], tuple[int, int], tuple[int, int], int]  # scores, working size, user's size, output stride

_SIDES = st.integers(1, 40)


def enlarged(scores: NDArray[np.float32], working: tuple[int, int], user: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """All strips in one (C, H, W) array."""
    return np.concatenate([strip.copy() for _, strip in enlarge(scores, working, user, stride)]).transpose(1, 0, 2)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Scores of a padded image, its working size, the user's size and the output stride."""
    working, user = (draw(_SIDES), draw(_SIDES)), (draw(_SIDES), draw(_SIDES))
    output_stride = draw(st.sampled_from([1, 2, 4, 8]))
    width, height = padded_size(*working, output_stride * draw(st.integers(1, 4)))
    shape = (draw(st.integers(1, 5)), height // output_stride, width // output_stride)
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32), working, user, output_stride
