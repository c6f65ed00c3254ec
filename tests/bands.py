"""The scores of an image as one array, which the service never holds."""

import numpy as np
from numpy.typing import NDArray

from service.inference.scores import Scores


def joined(scores: Scores) -> NDArray[np.float32]:
    """(C, H / stride, W / stride)."""
    whole = np.concatenate(list(scores.bands), axis=1)
    return whole.swapaxes(1, 2) if scores.by_columns else whole
