"""What a run in tiles comes to: its scores as one array, which the service never holds, and its work."""

from itertools import chain

import numpy as np
from numpy.typing import NDArray

from service.inference.scores import Scores
from service.inference.tiles import TiledNetwork, tiles


def joined(scores: Scores) -> NDArray[np.float32]:
    """(C, H / stride, W / stride)."""
    whole = np.concatenate(list(scores.bands), axis=1)
    return whole.swapaxes(1, 2) if scores.by_columns else whole


def tiled_work(network: TiledNetwork, width: int, height: int) -> float:
    """Multiply-accumulates of an image run in tiles, over those of the same image run whole."""
    width, height = sorted((width, height))  # a wide one is transposed
    work = sum(
        tiled.part.operations * (tile.region[2] - tile.region[0]) * (tile.region[3] - tile.region[1])
        for tiled, _ in network.parts
        for tile in chain.from_iterable(tiles(tiled, width, height, network.stride))
    )
    return work / (sum(tiled.part.operations for tiled, _ in network.parts) * width * height)
