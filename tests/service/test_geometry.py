"""Where pixels go: sizes, enlargement, labels."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from service import geometry
from service.geometry import enlarge, fitted, label_map, label_strip, network_input, padded_size, working_size
from tests.service.helpers.reference import reference_scores

Scene = tuple[NDArray[np.float32], tuple[int, int], tuple[int, int], int]  # scores, working size, user's size, output stride

sides = st.integers(1, 5000)
small = st.integers(1, 40)


def enlarged(scores: NDArray[np.float32], working: tuple[int, int], user: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """All strips in one (C, H, W) array."""
    return np.concatenate([strip.copy() for _, strip in enlarge(scores, working, user, stride)]).transpose(1, 0, 2)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Scores of a padded image, its working size, the user's size and the output stride."""
    working, user = (draw(small), draw(small)), (draw(small), draw(small))
    output_stride = draw(st.sampled_from([1, 2, 4, 8]))
    width, height = padded_size(*working, output_stride * draw(st.integers(1, 4)))
    shape = (draw(st.integers(1, 5)), height // output_stride, width // output_stride)
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32), working, user, output_stride


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


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 2, 8]), st.integers(1, 4))
def test_an_unpadded_image_at_its_own_size_is_enlarged_as_torch_does(rows: int, columns: int, stride: int, n: int) -> None:
    scores = np.random.default_rng(rows * columns).normal(size=(n, rows, columns)).astype(np.float32)
    size = (columns * stride, rows * stride)
    expected = torch.nn.functional.interpolate(torch.from_numpy(scores)[None], size[::-1], mode="bilinear", align_corners=False)
    assert np.allclose(enlarged(scores, size, size, stride), expected[0].numpy(), atol=1e-5)


@given(scenes())
def test_every_pixel_is_interpolated_where_the_design_says(
    scene: Scene,
) -> None:
    assert np.allclose(enlarged(*scene), reference_scores(*scene), atol=1e-5)


@given(scenes(), st.integers(1, 4000))
def test_strips_cover_every_row_once_and_in_order_whatever_their_size(scene: Scene, strip_bytes: int) -> None:
    whole = enlarged(*scene)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "STRIP_BYTES", strip_bytes)
        strips = [(top, strip.copy()) for top, strip in enlarge(*scene)]
    assert strips[0][0] == 0
    assert all(top + len(strip) == following for (top, strip), (following, _) in pairwise(strips))
    assert sum(len(strip) for _, strip in strips) == scene[2][1]
    assert (np.concatenate([strip for _, strip in strips]).transpose(1, 0, 2) == whole).all()


@given(scenes(), st.floats(-1e6, 1e6, width=32))
def test_constant_scores_stay_constant(scene: Scene, value: float) -> None:
    scores, working, user, stride = scene
    assert (enlarged(np.full_like(scores, value), working, user, stride) == np.float32(value)).all()


@given(arrays(np.float32, (3, 5, 4), elements=st.integers(-2, 2).map(float)))
def test_labels_are_the_first_of_the_highest_scores(strip: NDArray[np.float32]) -> None:
    assert (label_strip(strip) == strip.argmax(1)).all()


def test_all_255_classes_can_win() -> None:
    strip = np.eye(255, dtype=np.float32)[None]
    assert (label_strip(strip) == np.arange(255)).all()


@given(scenes())
@settings(max_examples=30)
def test_the_label_map_names_the_highest_enlarged_score(
    scene: Scene,
) -> None:
    labels = label_map(*scene)
    assert labels.dtype == np.uint8
    assert labels.shape == scene[2][::-1]
    assert (labels == enlarged(*scene).argmax(0)).all()
