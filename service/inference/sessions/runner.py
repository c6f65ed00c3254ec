"""Runs of a session: images in, scores out."""

import threading
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.contract import ModelCard
from service.inference.files.interface import Interface
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import ARENAS, reported_device
from service.inference.sessions.errors import RunFailed
from service.inference.sessions.pinned import Buffer

ORDINARY_PIXELS = 1 << 20  # of an image; memory for larger images is not kept for the next run


class Runner:
    """Runs a session through the interface of its graph: images in, scores out. Safe from several threads.

    On CUDA, one run is made at a time, with input and output in two buffers in page-locked memory that are reused.
    """

    def __init__(self, session: ort.InferenceSession, interface: Interface, card: ModelCard) -> None:
        self.device = reported_device(session)
        self._session, self._interface, self._card = session, interface, card
        self._input, self._output, self._one_run = Buffer(), Buffer(), threading.Lock()

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], cancellation: Cancellation, size: int = 1, release_memory: bool = False
    ) -> NDArray[np.float32]:
        """N images (1, H, W, 3) uint8 -> (N, C, H / output_stride, W / output_stride) float32.

        `size`: the batch size of the run. On CUDA it is N or more, and surplus scores are dropped; elsewhere it is N.
        `release_memory`: after the run, the session returns memory that it no longer needs to the device.

        Raises RunFailed if the graph gives another shape, and otherwise raises as `Cancellation.run_options` does.
        """
        height, width = images[0].shape[1:3]
        arenas = ARENAS[self.device] if release_memory or height * width > ORDINARY_PIXELS else ""
        given = [self._interface.prepare(image) for image in images]
        if self.device == "cuda":
            with self._one_run, cancellation.run_options(arenas) as options:
                given_scores = self._run_bound(given, size, height, width, options)
                scores = self._interface.restore(given_scores[: len(images)]).copy()
                if arenas:  # page-locked memory is released as well
                    self._input, self._output = Buffer(), Buffer()
                return scores
        with cancellation.run_options(arenas) as options:
            inputs = {self._interface.input_name: given[0] if size == 1 else np.concatenate(given)}
            [given_scores] = self._session.run([self._interface.output_name], inputs, options)
        scores, expected = self._interface.restore(given_scores), self._shape(len(images), height, width)
        if scores.shape != expected:  # a graph may contain the image size of its export
            raise RunFailed(f"its scores of an image of {width}x{height} are {scores.shape}, its card says {expected}")
        return scores

    def _run_bound(
        self, given: Sequence[NDArray[np.generic]], size: int, height: int, width: int, options: ort.RunOptions
    ) -> NDArray[np.generic]:
        """The graph's output, in a buffer that the next run overwrites."""
        source = self._input.array((size, *given[0].shape[1:]), given[0].dtype)
        np.concatenate(given, out=source[: len(given)])  # the rest of the batch keeps its old content
        target = self._output.array(self._interface.given_shape(*self._shape(size, height, width)), self._dtype)
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._interface.input_name, source)
        binding.bind_output(self._interface.output_name, "cpu", 0, target.dtype, target.shape, target.ctypes.data)
        self._session.run_with_iobinding(binding, options)
        return target

    def _shape(self, count: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of the scores of `count` images of `height` x `width` pixels."""
        return count, len(self._card.classes), height // self._card.output_stride, width // self._card.output_stride

    @cached_property
    def _dtype(self) -> np.dtype[np.generic]:
        """The dtype of the graph's output."""
        [output] = [one for one in self._session.get_outputs() if one.name == self._interface.output_name]
        return np.dtype(np.float16 if output.type == "tensor(float16)" else np.float32)
