"""Masks as PNG files: what other programs read in them."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.contract import ClassInfo
from service.imaging import encode
from service.imaging.encode import LEGEND_KEY, mask_png


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([2, 3, 15, 16, 17, 255]), st.integers(1, 2000), st.integers(0, 99)
)
def test_a_mask_has_the_labels_the_colours_and_the_legend(width: int, height: int, number: int, strip: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, number, (height, width), np.uint8)
    colors = random.integers(0, 256, (number, 3)).tolist()
    classes = tuple(
        ClassInfo(id=place, name=f"class {place}", color="#" + bytes(color).hex()) for place, color in enumerate(colors)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "STRIP_PIXELS", strip)
        content = mask_png(labels, classes, "légende")
    with Image.open(io.BytesIO(content)) as image:
        image.verify()  # every chunk's checksum
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "P" and np.array_equal(np.asarray(image), labels)
        palette = image.getpalette()
        assert palette is not None and palette[: 3 * number] == [channel for color in colors for channel in color]
        assert image.info[LEGEND_KEY] == "légende"
