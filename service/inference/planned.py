"""On CUDA, a session of its own for each shape of images.

ONNX Runtime plans a convolution for the shape of its input, and anew whenever another comes, since it keeps the last plan alone
(github.com/microsoft/onnxruntime/issues/23006). All plans of a network take it a hundred times as long as a run, or a thousand:
`check_plans` of tests/benchmarks/check_gpu.py.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.cancellation import Cancellation
from service.inference.errors import OutOfDeviceMemory
from service.inference.runner import ORDINARY_PIXELS, Runner

log = logging.getLogger(__name__)

Shape = tuple[int, int, int]  # images, height, width

PLANNED_BYTES = 5 << 29  # of a GPU, for all such sessions of a model
# What a session takes of it beside its weights, on an H200 (docs/gpu.md); of the process's memory it takes 140 MB.
PLANS_BYTES = 48 << 20
WORKSPACES = 8  # times the activations, as they are estimated


class PlannedRunner:
    """Runs images in the session that has the plans for their shape. Safe from several threads.

    The shapes that came last have one, as many as there is room for; large images have none, and no shape has where memory runs
    out: they are run in the model's first session.
    """

    def __init__(
        self, first: Runner, open_another: Callable[[], Runner], weight_bytes: int, bytes_per_pixel: Callable[[], float]
    ) -> None:
        """`weight_bytes` of the model, and the `bytes_per_pixel` of its activations."""
        self.device = first.device
        self._first, self._open = first, open_another
        self._weight_bytes, self._bytes_per_pixel = weight_bytes, bytes_per_pixel
        self._lock = threading.Lock()
        self._runners: dict[Shape, Runner] = {}  # the one that was used last at the end
        self._most_bytes: float = PLANNED_BYTES

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], cancellation: Cancellation, size: int = 1, gives_back: bool = False
    ) -> NDArray[np.float32]:
        """As a `Runner` does; `gives_back`: all sessions but the first."""
        if gives_back:
            with self._lock:
                self._runners.clear()
        scores = None if gives_back else self._run_planned(images, cancellation, size)
        return self._first(images, cancellation, size, gives_back) if scores is None else scores

    def has_room(self, shape: Shape) -> bool:
        """Whether that shape gets a session without another losing its own."""
        with self._lock:
            return self._held_bytes() + self._bytes(shape) <= self._most_bytes

    def _run_planned(
        self, images: Sequence[NDArray[np.uint8]], cancellation: Cancellation, size: int
    ) -> NDArray[np.float32] | None:
        """None where that needs more memory than there is; then no session is held any more that had too little."""
        _, height, width, _ = images[0].shape
        shape = size, height, width
        runner = self._planned(shape)
        if runner is None:
            return None
        try:
            return runner(images, cancellation, size)
        except OutOfDeviceMemory as error:
            with self._lock:
                self._runners.pop(shape, None)
                self._stop_opening(shape, str(error))  # its frames hold the session
            return None

    def _planned(self, shape: Shape) -> Runner | None:
        with self._lock:
            runner = self._runners.pop(shape, None)
            if runner is None:
                if shape[1] * shape[2] > ORDINARY_PIXELS or self._bytes(shape) > self._most_bytes:
                    return None
                while self._held_bytes() + self._bytes(shape) > self._most_bytes:
                    self._runners.pop(next(iter(self._runners)))
            try:
                runner = runner or self._open()
            except OutOfDeviceMemory as error:
                self._stop_opening(shape, str(error))
                return None
            self._runners[shape] = runner
            return runner

    def _stop_opening(self, shape: Shape, reason: str) -> None:
        self._most_bytes = self._held_bytes()
        kept = len(self._runners)
        log.warning("no memory for a session for %d images of %dx%d; %d shapes keep theirs: %s", *shape, kept, reason)

    def _held_bytes(self) -> float:
        return sum(map(self._bytes, self._runners))

    def _bytes(self, shape: Shape) -> float:
        images, height, width = shape
        return PLANS_BYTES + self._weight_bytes + WORKSPACES * self._bytes_per_pixel() * images * height * width
