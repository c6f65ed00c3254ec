"""Deciding which images a network runs whole, and choosing the parts and tiles for all other images."""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from math import ceil, log2

import numpy as np
import onnxruntime as ort

from service.contract import INPUT_NAME, OUTPUT_NAME, ModelCard
from service.inference.files.model_file import unknown_bytes_per_pixel
from service.inference.sessions.device import ReportedDevice, reported_device, require_same_device
from service.inference.sessions.errors import OutOfDeviceMemory, first_line
from service.inference.tiling.layers import Layers, Tensor, UnknownLayer
from service.inference.tiling.parts import Part, TiledPart, cut, peak_bytes_per_pixel
from service.inference.tiling.tiles import TiledNetwork

log = logging.getLogger(__name__)

# Limit for the estimated activations of one run; ONNX Runtime takes about twice as much.
RUN_BYTES: dict[ReportedDevice, int] = {"cpu": 96 << 20, "cuda": 1 << 30}
SMALLER = 8  # RUN_BYTES is divided by this for small tiles, after a run has lacked memory
LEVELS = 8  # widths and heights are rounded up to this many steps per doubling; one choice of parts serves a step
SURELY_WHOLE_PIXELS = 1 << 19
MAX_NETWORKS = 3  # most recently used networks to keep, with a session for each part


class Tiling:
    """Decides which images a model runs whole, and keeps the parts and sessions for all other images."""

    def __init__(
        self, content: bytes, card: ModelCard, open_session: Callable[[bytes], ort.InferenceSession], device: ReportedDevice
    ) -> None:
        """`content`: the bytes of the model's file. They are parsed, and sessions opened, only when an image needs it."""
        self._content, self._card, self._open, self._device = content, card, open_session, device
        self._lock = threading.Lock()
        self._sessions: dict[Part, ort.InferenceSession] = {}
        self._networks: dict[tuple[int, int, int], TiledNetwork] = {}  # ordered by last use, the most recent at the end

    @cached_property
    def bytes_per_pixel(self) -> float:
        """Estimated bytes of activations for each pixel of an image that is run whole."""
        if self._layers is None:
            return unknown_bytes_per_pixel(self._card)
        return peak_bytes_per_pixel(self._layers.layers, frozenset({self._layers.scores}))

    def runs_whole(self, width: int, height: int) -> bool:
        """Whether a padded image of that size fits one run. Raises OutOfDeviceMemory if there is no memory to find out."""
        pixels, most = width * height, RUN_BYTES[self._device]
        score_bytes = pixels / self._card.output_stride**2 * len(self._card.classes) * 4
        if pixels <= SURELY_WHOLE_PIXELS and score_bytes <= most:
            return True
        return pixels * self.bytes_per_pixel <= most

    def network(self, width: int, height: int, small: bool = False) -> TiledNetwork:
        """The tiled network for a padded image of that size; `small`: with tiles that take less memory than usual.

        Only for a model whose card has a halo. Raises OutOfDeviceMemory if its sessions cannot be opened.
        """
        most = RUN_BYTES[self._device] // (SMALLER if small else 1)
        across, along = sorted((width, height))  # transposed if wider than high, as in `tiles`
        level = _level(across), _level(along), most
        longest = _length(level[0]), _length(level[1])
        with self._lock:
            network = self._networks.pop(level, None)
            if network is None:
                self._keep(MAX_NETWORKS - 1)
                layers = self._layers
                try:
                    parts = [self._whole(longest, most)] if layers is None else cut(layers, self._card.stride, longest, most)
                    network = self._opened(layers, parts)
                except OutOfDeviceMemory:
                    raise
                except Exception:  # an unusual graph, or a passing failure: the next image tries again
                    log.exception("%s cannot be run in parts; it is tiled as a whole", self._card.name)
                    return self._opened_whole(longest, most)
            self._networks[level] = network
            return network

    def give_back(self) -> None:
        """Close all sessions; an image that is being run keeps its own sessions until it is finished."""
        with self._lock:
            self._keep(0)

    def _keep(self, most: int) -> None:
        """Keep at most `most` networks, and only the sessions that they use."""
        while len(self._networks) > most:
            self._networks.pop(next(iter(self._networks)))
        self._sessions = {tiled.part: session for one in self._networks.values() for tiled, session in one.parts}

    def _opened_whole(self, size: tuple[int, int], run_bytes: int) -> TiledNetwork:
        try:
            return self._opened(None, [self._whole(size, run_bytes)])
        except Exception as error:  # the file is known to run, so memory is short
            raise OutOfDeviceMemory(first_line(error)) from error

    def _opened(self, layers: Layers | None, parts: Sequence[TiledPart]) -> TiledNetwork:
        for tiled in parts:
            if tiled.part not in self._sessions:
                session = self._open(self._file(layers, tiled.part))
                require_same_device(reported_device(session), self._device)  # an answer names one device
                self._sessions[tiled.part] = session
        return TiledNetwork([(tiled, self._sessions[tiled.part]) for tiled in parts], self._card.stride)

    @cached_property
    def _layers(self) -> Layers | None:
        try:
            return Layers.of(self._content, OUTPUT_NAME)
        except (UnknownLayer, LookupError, ValueError):  # an unusual graph is tiled as one part
            return None
        except MemoryError as error:
            raise OutOfDeviceMemory(first_line(error)) from error

    def _whole(self, size: tuple[int, int], run_bytes: int) -> TiledPart:
        """The network as one part, with the halo given by its card."""
        card, halo = self._card, self._card.halo
        assert halo is not None
        image = Tensor(INPUT_NAME, 1, 3, np.dtype(np.uint8))
        scores = Tensor(OUTPUT_NAME, card.output_stride, len(card.classes), np.dtype(np.float32))
        part = Part((), (image,), (scores,), halo, unknown_bytes_per_pixel(card), 1.0)
        return TiledPart.last(part, card.stride, run_bytes, size[1], size[0])

    def _file(self, layers: Layers | None, part: Part) -> bytes:
        if layers is None:
            return self._content
        inputs, outputs = ({tensor.name: tensor.dtype for tensor in tensors} for tensors in (part.inputs, part.outputs))
        return layers.file.cut([layer.index for layer in part.layers], inputs, outputs)


def _level(length: int) -> int:
    return ceil(LEVELS * log2(length))


def _length(level: int) -> int:
    """The longest width or height, in pixels, of a level."""
    return int(2 ** (level / LEVELS))
