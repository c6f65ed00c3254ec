"""A model without a service around it, and what its runs in tiles come to."""

from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.inference.files.model_file import ModelFile
from service.inference.models.model import Model
from service.inference.scores import Scores
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import create_session
from service.inference.tiling.tiles import TiledNetwork, tiles
from service.settings import Device


def loaded(file: Path, device: Device = "cpu") -> Model:
    """A model file as the service loads it."""
    return Model.load(ModelFile.read(file), file.read_bytes(), partial(create_session, device=device), Cancellation())


def joined(scores: Scores) -> NDArray[np.float32]:
    """All in one array, (C, H / stride, W / stride), which the service never holds."""
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
