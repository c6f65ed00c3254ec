"""Running the parts of a network on an image tile by tile: the same scores as of the whole image, in bounded memory.

Every tile is run with its halo, the pixels around it that can change its scores, and is aligned with the network's stride. So
its scores equal those of the whole image, within the rounding of floating-point sums. The parts of a network (`parts`) take
turns from the top of the image to its bottom: neither the tensors between parts nor the scores are ever complete in memory.
The shorter the rows, the less has to be kept. So an image that is wider than high is handled transposed here; every tile is
transposed back for the network, and the network's outputs are transposed again.
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
    """A block of the image (`core`), and the larger block that its scores depend on (`region`)."""

    core: Box
    region: Box

    def inner(self, array: NDArray[Any], stride: int) -> NDArray[Any]:
        """The cells of the core in an array that was computed from the region: (1, C, H, W) -> (C, h, w)."""
        left, top, right, bottom = (
            (edge - start) // stride for edge, start in zip(self.core, self.region[:2] * 2, strict=True)
        )
        return array[0, :, top:bottom, left:right]


def tiles(tiled: TiledPart, width: int, height: int, stride: int) -> list[list[Tile]]:
    """The tiles of a padded image, in rows from the top; the cores cover the image without overlap."""
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
        """Scores of a padded image, computed band by band; each band raises as `Cancellation.run_options` does."""
        transposed = width > height
        width, height = sorted((width, height))
        stages = [_Stage(tiled.part, tiles(tiled, width, height, self.stride), session) for tiled, session in self.parts]
        [scores] = stages[-1].part.outputs
        bands = _Rows(stages, crop, width, transposed, cancellation).of_last_stage()
        return Scores(bands, height // scores.stride, scores.stride, "tiled", by_columns=transposed)


@dataclass
class _Stage:
    """A part and its progress: its rows of tiles are computed one after another."""

    part: Part
    rows: list[list[Tile]]
    session: ort.InferenceSession
    made: int = 0  # rows of tiles computed so far

    @property
    def reached(self) -> int:
        """Pixels from the top that are computed so far."""
        return self.rows[self.made - 1][0].core[3] if self.made else 0

    @property
    def needs_from(self) -> int:
        """The first row of pixels that this stage still needs from other stages."""
        return self.rows[self.made][0].region[1] if self.made < len(self.rows) else self.rows[-1][0].core[3]


class _Rows:
    """The tensors between parts: each row of tiles is computed when it is needed, and freed when it is no longer needed."""

    def __init__(self, stages: Sequence[_Stage], crop: Crop, width: int, transposed: bool, cancellation: Cancellation) -> None:
        self._stages, self._crop, self._width, self._cancellation = stages, crop, width, cancellation
        self._transposed = transposed  # applies to all data here but the image and the network's inputs and outputs
        self._maker = {tensor: number for number, stage in enumerate(stages) for tensor in stage.part.outputs}
        self._users = {tensor: [stage for stage in stages if tensor in stage.part.inputs] for tensor in self._maker}
        self._kept: dict[Tensor, list[tuple[int, NDArray[Any]]]] = {tensor: [] for tensor in self._maker}  # (top pixel, rows)

    def of_last_stage(self) -> Iterator[NDArray[np.float32]]:
        """The scores, a row of tiles at a time."""
        for _ in self._stages[-1].rows:
            yield self.make(len(self._stages) - 1)[0]  # not bound to a name: freed before the next one is computed

    def make(self, number: int) -> list[NDArray[Any]]:
        """Compute the next row of tiles of a stage: each output as (C, rows, W)."""
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
            if result.shape != (1, tensor.channels, height, width):  # a graph may contain the image size of its export
                raise RunFailed(f"{tensor.name} of a tile is {result.shape}, and not {(1, tensor.channels, height, width)}")
        return [self._turned(result) for result in results]

    def _turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """(1, C, h, w) on its way into or out of the network, which sees every tile untransposed."""
        return array.swapaxes(2, 3) if self._transposed else array

    def _gathered(self, tensor: Tensor, region: Box) -> NDArray[Any]:
        """The region of a tensor from its kept rows, (1, C, h, w), untransposed for the network."""
        left, top, right, bottom = (edge // tensor.stride for edge in region)
        result = np.empty((1, tensor.channels, bottom - top, right - left), tensor.dtype)
        for first_pixel, rows in self._kept[tensor]:
            first = first_pixel // tensor.stride
            start, end = max(top, first), min(bottom, first + rows.shape[1])
            if start < end:
                result[0, :, start - top : end - top] = rows[:, start - first : end - first, left:right]
        return np.ascontiguousarray(self._turned(result))


def _spans(length: int, core: int, stride: int) -> list[tuple[int, int]]:
    """(start, end) of the fewest pieces of `length`: nearly equal, at most `core` long, multiples of `stride`."""
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
