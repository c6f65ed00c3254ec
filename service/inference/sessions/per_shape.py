"""Running images on CUDA in a separate session for each image shape, so that the plans for a shape are reused.

ONNX Runtime plans a convolution for the shape of its input. It keeps only the last plan, and so plans anew after
each change of shape (github.com/microsoft/onnxruntime/issues/23006). Planning all convolutions of a network takes 100 to 1,000
times as long as running it: `check_plans` of tests/benchmarks/check_gpu.py.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.errors import OutOfDeviceMemory
from service.inference.sessions.runner import ORDINARY_PIXELS, Runner

log = logging.getLogger(__name__)

Shape = tuple[int, int, int]  # images, height, width

# For each model. A session takes 150 to 300 MB of GPU memory and 140 MB of process memory (docs/gpu.md), and its weights.
MAX_SESSIONS = 10
WEIGHT_BYTES = 1 << 30  # weights of all these sessions together
PAUSE_S = 60.0  # seconds without new sessions, after one lacked memory


class PerShapeRunner:
    """Runs images in the session that has the plans for their shape. Safe from several threads.

    The most recently used shapes have such a session. Shapes above ORDINARY_PIXELS never get one, and new shapes get none while
    memory is short: their images are run in the model's first session, which plans anew at each change of shape.
    """

    def __init__(self, first: Runner, open_another: Callable[[], Runner], weight_bytes: int) -> None:
        """`open_another` opens a session, or raises OutOfDeviceMemory; `weight_bytes`: bytes of weights of one session."""
        self.device = first.device
        self.first, self._open = first, open_another
        self._most = max(1, min(MAX_SESSIONS, WEIGHT_BYTES // weight_bytes))
        self._lock = threading.Lock()
        self._runners: dict[Shape, Runner] = {}  # ordered by last use, the most recent at the end
        self._opens_from = 0.0  # time.monotonic() from which sessions may be opened

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], cancellation: Cancellation, size: int = 1, release_memory: bool = False
    ) -> NDArray[np.float32]:
        """Run images as a `Runner` does; `release_memory`: also close all sessions but the first."""
        if release_memory:
            with self._lock:
                self._runners.clear()
        scores = None if release_memory else self._run_in_own(images, cancellation, size)
        return self.first(images, cancellation, size, release_memory) if scores is None else scores

    def has_room(self, shape: Shape) -> bool:
        """Whether that shape can get a session without closing another shape's."""
        with self._lock:
            return len(self._runners) < self._most and self._may_have_one(shape)

    def _run_in_own(
        self, images: Sequence[NDArray[np.uint8]], cancellation: Cancellation, size: int
    ) -> NDArray[np.float32] | None:
        """The scores; None if the shape can have no session, or if memory ran out, in which case its session is dropped."""
        _, height, width, _ = images[0].shape
        shape = size, height, width
        runner = self._own(shape)
        if runner is None:
            return None
        try:
            return runner(images, cancellation, size)
        except OutOfDeviceMemory as error:
            with self._lock:
                self._runners.pop(shape, None)
                self._pause(shape, str(error))  # not the error itself: its frames hold the session
            return None

    def _own(self, shape: Shape) -> Runner | None:
        with self._lock:
            runner = self._runners.pop(shape, None)
            if runner is None:
                if not self._may_have_one(shape):
                    return None
                if len(self._runners) == self._most:
                    self._runners.pop(next(iter(self._runners)))
                try:
                    runner = self._open()
                except OutOfDeviceMemory as error:
                    self._pause(shape, str(error))
                    return None
            self._runners[shape] = runner
            return runner

    def _may_have_one(self, shape: Shape) -> bool:
        _, height, width = shape
        return height * width <= ORDINARY_PIXELS and time.monotonic() >= self._opens_from

    def _pause(self, shape: Shape, reason: str) -> None:
        self._opens_from = time.monotonic() + PAUSE_S
        log.warning("no session for %d images of %dx%d, nor for other new shapes for %g s: %s", *shape, PAUSE_S, reason)
