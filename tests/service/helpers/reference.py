"""The geometry of `service.geometry` once more, written for reading only: the fast one must agree with it."""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from service.contract import METADATA_KEY, ModelCard


def reference_scores(
    scores: NDArray[np.float32], working: tuple[int, int], user: tuple[int, int], output_stride: int
) -> NDArray[np.float64]:
    """(C, h, w) scores of the padded image -> (C, H, W) at the user's size: each pixel from its four neighbours."""
    (x0, x1, fx), (y0, y1, fy) = (
        _neighbours(user[axis], working[axis], output_stride, scores.shape[2 - axis]) for axis in (0, 1)
    )
    grid = scores.astype(np.float64)
    fy = fy[:, None]
    upper = grid[:, y0][:, :, x0] * (1 - fx) + grid[:, y0][:, :, x1] * fx
    lower = grid[:, y1][:, :, x0] * (1 - fx) + grid[:, y1][:, :, x1] * fx
    result: NDArray[np.float64] = upper * (1 - fy) + lower * fy
    return result


def _neighbours(
    user: int, working: int, output_stride: int, cells: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    positions = [(x + 0.5) * working / (user * output_stride) - 0.5 for x in range(user)]
    clamped = np.array([min(max(u, 0), cells - 1) for u in positions])
    before = np.floor(clamped).astype(np.intp)
    return before, np.minimum(before + 1, cells - 1), clamped - before


def reference_result(model: bytes, image: Image.Image, long_side: int | None) -> NDArray[np.float64]:
    """(C, H, W) scores of an upright RGB image at its own size."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    card = ModelCard.model_validate_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    width, height = image.size
    scale = 1.0 if long_side is None else min(1.0, long_side / max(width, height))
    working = max(1, round(width * scale)), max(1, round(height * scale))
    small = image if scale == 1 else image.resize(working, Image.Resampling.BILINEAR)
    below, right = -working[1] % card.stride, -working[0] % card.stride
    padded = np.pad(np.asarray(small), ((0, below), (0, right), (0, 0)), constant_values=card.pad_value)
    [scores] = session.run(None, {"image": padded[None]})
    return reference_scores(scores[0], working, image.size, card.output_stride)


def margins(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the highest score of each pixel is above the second: where it is tiny, either label is right."""
    first, second = np.sort(scores, 0)[[-1, -2]]
    result: NDArray[np.float64] = first - second
    return result
