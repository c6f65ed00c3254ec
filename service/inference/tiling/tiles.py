"""Running the parts of a network on an image, tile by tile: the same scores as of the whole image, in bounded memory.

Every tile comes with its halo, the pixels around it that can change it, and lies on the network's stride: its scores are
those of the whole image, within the rounding of floating-point sums. The parts of a network (`parts`) take turns from the
top of the image to its bottom: what lies between them, and the scores, are never there as a whole. The shorter the rows, the
less there is to keep: so an image that is wider than high is transposed here, and every tile on its way into the network and
out of it is transposed back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.contract import Halo
from service.inference.scores import Scores
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import ARENAS, reported_device
from service.inference.sessions.errors import RunFailed
from service.inference.tiling.layers import Tensor
from service.inference.tiling.parts import Part, TiledPart

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the padded image
Crop = Callable[[Box], NDArray[np.uint8]]  # that box of the padded image as (1, H, W, 3)


@dataclass(frozen=True)
class Tile:
    """A block of the image, and the larger one that its scores depend on."""

    core: Box
    region: Box

    def inner(self, array: NDArray[Any], stride: int) -> NDArray[Any]:
        """The core of what was computed from the region: (1, C, H, W) -> (C, h, w)."""
        left, top, right, bottom = (
            (edge - start) // stride for edge, start in zip(self.core, self.region[:2] * 2, strict=True)
        )
        return array[0, :, top:bottom, left:right]


def tiles(tiled: TiledPart, width: int, height: int, stride: int) -> list[list[Tile]]:
    """The tiles of a padded image, by rows from the top; all cores together are the image, each once."""
    columns = _spans(width, tiled.width, stride)
    rows = []
    for top, bottom in _spans(height, tiled.height, stride):
        cores = [(left, top, right, bottom) for left, right in columns]
        rows.append([Tile(core, _region(tiled.part.halo, core, width, height)) for core in cores])
    return rows


@dataclass(frozen=True)
class TiledNetwork:
    """A network's parts with a session for each."""

    parts: Sequence[tuple[TiledPart, ort.InferenceSession]]
    stride: int

    def scores(self, crop: Crop, width: int, height: int, cancellation: Cancellation) -> Scores:
        """Scores of a padded image; their bands raise Cancelled if the work was called off."""
        transposed = width > height
        width, height = sorted((width, height))
        stages = [_Stage(tiled.part, tiles(tiled, width, height, self.stride), session) for tiled, session in self.parts]
        [scores] = stages[-1].part.outputs
        bands = _Rows(stages, crop, width, transposed, cancellation).of_last_stage()
        return Scores(bands, height // scores.stride, scores.stride, "tiled", by_columns=transposed)


@dataclass
class _Stage:
    """A part at work: its rows of tiles are made one after another."""

    part: Part
    rows: list[list[Tile]]
    session: ort.InferenceSession
    made: int = 0  # rows of tiles

    @property
    def reached(self) -> int:
        """Pixels from the top that are made."""
        return self.rows[self.made - 1][0].core[3] if self.made else 0

    @property
    def needs_from(self) -> int:
        """The first row of pixels that it still needs of what others make."""
        return self.rows[self.made][0].region[1] if self.made < len(self.rows) else self.rows[-1][0].core[3]


class _Rows:
    """What lies between parts: each row is made when it is needed, and let go of when it no longer is."""

    def __init__(self, stages: Sequence[_Stage], crop: Crop, width: int, transposed: bool, cancellation: Cancellation) -> None:
        self._stages, self._crop, self._width, self._cancellation = stages, crop, width, cancellation
        self._transposed = transposed  # all here but the image and what the network sees
        self._maker = {tensor: number for number, stage in enumerate(stages) for tensor in stage.part.outputs}
        self._users = {tensor: [stage for stage in stages if tensor in stage.part.inputs] for tensor in self._maker}
        self._kept: dict[Tensor, list[tuple[int, NDArray[Any]]]] = {tensor: [] for tensor in self._maker}  # (top pixel, rows)

    def of_last_stage(self) -> Iterator[NDArray[np.float32]]:
        """The scores, a row of tiles at a time."""
        for _ in self._stages[-1].rows:
            yield self.make(len(self._stages) - 1)[0]  # under no name: it is let go of before the next is made

    def make(self, number: int) -> list[NDArray[Any]]:
        """The next row of tiles of a stage: each output as (C, rows, W)."""
        stage = self._stages[number]
        row = stage.rows[stage.made]
        made_elsewhere = [tensor for tensor in stage.part.inputs if tensor in self._maker]
        for tensor in made_elsewhere:
            maker = self._maker[tensor]
            while self._stages[maker].reached < row[0].region[3]:
                self._keep(maker, self.make(maker))
        _, top, _, bottom = row[0].core
        bands = [
            np.empty((tensor.channels, (bottom - top) // tensor.stride, self._width // tensor.stride), tensor.dtype)
            for tensor in stage.part.outputs
        ]
        for tile in row:
            for tensor, array, band in zip(stage.part.outputs, self._run(stage, tile), bands, strict=True):
                left, _, right, _ = (edge // tensor.stride for edge in tile.core)
                band[:, :, left:right] = tile.inner(array, tensor.stride)
        stage.made += 1
        for tensor in made_elsewhere:
            needed = min(user.needs_from for user in self._users[tensor])
            self._kept[tensor] = [
                (first, rows) for first, rows in self._kept[tensor] if first + rows.shape[1] * tensor.stride > needed
            ]
        return bands

    def _keep(self, number: int, bands: Sequence[NDArray[Any]]) -> None:
        stage = self._stages[number]
        top = stage.rows[stage.made - 1][0].core[1]
        for tensor, band in zip(stage.part.outputs, bands, strict=True):
            self._kept[tensor].append((top, band))

    def _run(self, stage: _Stage, tile: Tile) -> list[NDArray[Any]]:
        left, top, right, bottom = tile.region
        of_image = (top, left, bottom, right) if self._transposed else tile.region
        inputs = {
            tensor.name: self._gathered(tensor, tile.region) if tensor in self._maker else self._crop(of_image)
            for tensor in stage.part.inputs
        }
        with self._cancellation.run_options(ARENAS[reported_device(stage.session)]) as options:
            results = stage.session.run([tensor.name for tensor in stage.part.outputs], inputs, options)
        for tensor, result in zip(stage.part.outputs, results, strict=True):
            height, width = ((of_image[end] - of_image[end - 2]) // tensor.stride for end in (3, 2))
            if result.shape != (1, tensor.channels, height, width):  # a graph may hold sizes of what it was exported with
                raise RunFailed(f"{tensor.name} of a tile is {result.shape}, and not {(1, tensor.channels, height, width)}")
        return [self._turned(result) for result in results]

    def _turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """(1, C, h, w) on its way into the network or out of it, which sees every tile as it is."""
        return array.swapaxes(2, 3) if self._transposed else array

    def _gathered(self, tensor: Tensor, region: Box) -> NDArray[Any]:
        """The region of what is kept, (1, C, h, w)."""
        left, top, right, bottom = (edge // tensor.stride for edge in region)
        result = np.empty((1, tensor.channels, bottom - top, right - left), tensor.dtype)
        for first_pixel, rows in self._kept[tensor]:
            first = first_pixel // tensor.stride
            start, end = max(top, first), min(bottom, first + rows.shape[1])
            if start < end:
                result[0, :, start - top : end - top] = rows[:, start - first : end - first, left:right]
        return np.ascontiguousarray(self._turned(result))


def _spans(length: int, core: int, stride: int) -> list[tuple[int, int]]:
    """`length` in as few pieces of at most `core` as will do, nearly equal, each a multiple of `stride` long."""
    count = -(-length // core)
    return list(pairwise(number * (length // stride) // count * stride for number in range(count + 1)))


def _region(halo: Halo, core: Box, width: int, height: int) -> Box:
    left, top, right, bottom = core
    return (
        max(0, left - halo.before),
        max(0, top - halo.before),
        min(width, right + halo.after),
        min(height, bottom + halo.after),
    )
