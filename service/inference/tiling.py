"""Running a network on an image too large to run whole: the same scores, tile by tile, in bounded memory.

Every tile comes with its halo, the pixels around it that can change it, and lies on the network's stride: its scores are
those of the whole image, within the rounding of floating-point sums. Between the parts of a network (`parts`) whole arrays
are kept; of the scores no more than one row of tiles.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from math import ceil, log2
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.contract import INPUT_NAME, OUTPUT_NAME, ModelCard
from service.inference.cancellation import Cancellation
from service.inference.device import ARENAS, reported_device
from service.inference.layers import Layers, Tensor, UnknownLayer
from service.inference.parts import Part, bytes_per_pixel, core_side, cut

log = logging.getLogger(__name__)

RUN_BYTES = 192 << 20  # activations of one run, as they are estimated; ONNX Runtime takes up to half more
LEVELS = 8  # sizes of images for each doubling of their pixels: parts are chosen once for each
SURELY_WHOLE_PIXELS = 1 << 19
UNKNOWN_BYTES_PER_PIXEL = 250.0  # of activations, where the graph's layers are not known: more than most networks take

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


def tiles(part: Part, width: int, height: int, stride: int) -> Iterator[list[Tile]]:
    """The tiles of a padded image, by rows from the top; all cores together are the image, each once."""
    columns = _spans(width, part.core, stride)
    for top, bottom in _spans(height, part.core, stride):
        cores = [(left, top, right, bottom) for left, right in columns]
        yield [Tile(core, _region(part, core, width, height)) for core in cores]


def operations(parts: Sequence[Part], width: int, height: int, stride: int) -> float:
    """Multiply-accumulates of a tiled run, over those of the same image run whole."""
    tiled = sum(
        part.operations * (tile.region[2] - tile.region[0]) * (tile.region[3] - tile.region[1])
        for part in parts
        for row in tiles(part, width, height, stride)
        for tile in row
    )
    return tiled / (sum(part.operations for part in parts) * width * height)


@dataclass(frozen=True)
class TiledNetwork:
    """A network's parts with a session for each."""

    parts: Sequence[tuple[Part, ort.InferenceSession]]
    stride: int

    def scores(self, crop: Crop, width: int, height: int, cancellation: Cancellation) -> Iterator[NDArray[np.float32]]:
        """Scores of a padded image, (C, rows, width / output_stride) float32 at a time, from the top.

        Raises Cancelled if the work was called off.
        """
        kept: dict[str, NDArray[Any]] = {}
        for place, (part, session) in enumerate(self.parts[:-1]):
            made = [np.empty((t.channels, height // t.stride, width // t.stride), t.kind) for t in part.outputs]
            for tile in chain.from_iterable(tiles(part, width, height, self.stride)):
                for tensor, array, whole in zip(
                    part.outputs, _run(part, session, tile, crop, kept, cancellation), made, strict=True
                ):
                    left, top, right, bottom = (edge // tensor.stride for edge in tile.core)
                    whole[:, top:bottom, left:right] = tile.inner(array, tensor.stride)
            kept |= {tensor.name: whole for tensor, whole in zip(part.outputs, made, strict=True)}
            needed = {tensor.name for later, _ in self.parts[place + 1 :] for tensor in later.inputs}
            kept = {name: array for name, array in kept.items() if name in needed}
        last, session = self.parts[-1]
        [scores] = last.outputs
        for row in tiles(last, width, height, self.stride):
            cores = [tile.inner(_run(last, session, tile, crop, kept, cancellation)[0], scores.stride) for tile in row]
            yield np.concatenate(cores, axis=2)


def _run(
    part: Part,
    session: ort.InferenceSession,
    tile: Tile,
    crop: Crop,
    kept: Mapping[str, NDArray[Any]],
    cancellation: Cancellation,
) -> list[NDArray[Any]]:
    inputs: dict[str, NDArray[Any]] = {}
    for tensor in part.inputs:
        if tensor.name == INPUT_NAME:
            inputs[tensor.name] = crop(tile.region)
        else:
            left, top, right, bottom = (edge // tensor.stride for edge in tile.region)
            inputs[tensor.name] = np.ascontiguousarray(kept[tensor.name][None, :, top:bottom, left:right])
    with cancellation.run_options(ARENAS[reported_device(session)]) as options:
        results: list[NDArray[Any]] = session.run([tensor.name for tensor in part.outputs], inputs, options)
    return results


def _spans(length: int, core: int, stride: int) -> list[tuple[int, int]]:
    """`length` in as few pieces of at most `core` as will do, nearly equal, each a multiple of `stride` long."""
    count = -(-length // core)
    return list(pairwise(number * (length // stride) // count * stride for number in range(count + 1)))


def _region(part: Part, core: Box, width: int, height: int) -> Box:
    left, top, right, bottom = core
    before, after = part.halo.before, part.halo.after
    return max(0, left - before), max(0, top - before), min(width, right + after), min(height, bottom + after)


class Tiling:
    """Decides which images a model sees whole, and keeps what it needs for the others."""

    def __init__(self, content: bytes, card: ModelCard, open_session: Callable[[bytes], ort.InferenceSession]) -> None:
        """`content` is the model's file. Nothing is read of it, and no session opened, before an image needs it."""
        self._content, self._card, self._open = content, card, open_session
        self._lock = threading.Lock()
        self._layers: Layers | None = None
        self._read = False
        self._sessions: dict[Part, ort.InferenceSession] = {}
        self._networks: dict[tuple[int, int], TiledNetwork] = {}

    @property
    def bytes_per_pixel(self) -> float:
        """Of activations, for each pixel of an image that is run whole; an estimate."""
        layers = self._known_layers()
        return bytes_per_pixel(layers.layers) if layers else UNKNOWN_BYTES_PER_PIXEL

    def runs_whole(self, width: int, height: int) -> bool:
        """Whether a padded image of that size fits one run."""
        if width * height <= SURELY_WHOLE_PIXELS:
            return True
        return width * height * self.bytes_per_pixel <= RUN_BYTES

    def network(self, width: int, height: int, run_bytes: int | None = None) -> TiledNetwork:
        """The parts that suit a padded image of that size, where a run may take `run_bytes`: RUN_BYTES by default.

        Only for a model whose card has a halo.
        """
        most = run_bytes or RUN_BYTES
        level = ceil(LEVELS * log2(width * height))
        layers = self._known_layers()
        with self._lock:
            if (level, most) not in self._networks:
                self._networks[level, most] = self._network(layers, ceil(2 ** (level / LEVELS)), most)
            return self._networks[level, most]

    def _network(self, layers: Layers | None, pixels: int, run_bytes: int) -> TiledNetwork:
        if layers is not None:
            try:
                return self._opened(layers, cut(layers, self._card.stride, pixels, run_bytes))
            except Exception:  # of a graph like no other: its layers are known one by one, but not how to cut it
                log.exception("%s cannot be cut; it is tiled as a whole", self._card.name)
        return self._opened(None, (self._whole(run_bytes),))

    def _opened(self, layers: Layers | None, parts: Sequence[Part]) -> TiledNetwork:
        for part in parts:
            if part not in self._sessions:
                self._sessions[part] = self._open(self._file(layers, part))
        return TiledNetwork([(part, self._sessions[part]) for part in parts], self._card.stride)

    def _known_layers(self) -> Layers | None:
        with self._lock:
            if not self._read:
                self._read = True
                with suppress(UnknownLayer):
                    self._layers = Layers.of(self._content, OUTPUT_NAME)
            return self._layers

    def _whole(self, run_bytes: int) -> Part:
        """A network whose layers are not known, with the halo that its card tells."""
        card, halo = self._card, self._card.halo
        assert halo is not None
        image = Tensor(INPUT_NAME, 1, 3, np.dtype(np.uint8))
        scores = Tensor(OUTPUT_NAME, card.output_stride, len(card.classes), np.dtype(np.float32))
        return Part((), (image,), (scores,), halo, core_side(UNKNOWN_BYTES_PER_PIXEL, halo, card.stride, run_bytes), 1.0)

    def _file(self, layers: Layers | None, part: Part) -> bytes:
        if layers is None:
            return self._content
        inputs, outputs = ({tensor.name: tensor.kind for tensor in tensors} for tensors in (part.inputs, part.outputs))
        return layers.file.cut([layer.place for layer in part.layers], inputs, outputs)
