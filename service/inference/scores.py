"""The class scores of an image, and how the network was run to compute them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# How an image is run: on all cores, or on one beside other work; on a GPU alone, or batched with others; or tile by tile.
Schedule = Literal["all_cores", "one_core", "on_gpu", "batched", "tiled"]


@dataclass(frozen=True)
class Scores:
    """Class scores of a padded image in bands, each computed when it is asked for: from the top, or from the left."""

    bands: Iterable[NDArray[np.float32]]  # (C, some rows, W / stride) each; by columns: (C, some columns, H / stride)
    length: int  # rows, or columns, of all bands together
    stride: int  # image pixels per score, along each axis
    schedule: Schedule
    by_columns: bool = False
