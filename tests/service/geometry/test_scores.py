"""Where pixels get their scores and labels from."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.geometry import enlarge, label_map, label_strip
from tests.service.helpers.reference import reference_scores
from tests.service.helpers.scenes import Scene, enlarged, scenes


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
        patch.setattr("service.geometry.scores.STRIP_BYTES", strip_bytes)
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
