"""Cancelling work that runs in another thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime as ort

from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed, first_line, is_out_of_memory


class Cancelled(Exception):
    """The work was cancelled."""


class Cancellation:
    """A flag that one thread sets and the working thread obeys, also inside ONNX Runtime."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: ort.RunOptions | None = None
        self.cancelled_at: float | None = None  # on the clock of time.perf_counter

    def cancel(self) -> None:
        """Cancel the work: it ends at its next `check`, or at the next node of a running graph."""
        with self._lock:
            self.cancelled_at = self.cancelled_at or time.perf_counter()
            if self._running is not None:
                self._running.terminate = True

    def check(self) -> None:
        """Raises Cancelled if the work was cancelled."""
        if self.cancelled_at is not None:
            raise Cancelled

    @contextmanager
    def run_options(self, shrunk_arenas: str = "") -> Iterator[ort.RunOptions]:
        """Options for one run of a session; after the run, the arenas in `shrunk_arenas` release memory that they do not need.

        Raises Cancelled if the run is cancelled, OutOfDeviceMemory if the device lacks memory for it, and RunFailed if it
        fails for another reason.
        """
        options = ort.RunOptions()
        if shrunk_arenas:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", shrunk_arenas)
        with self._lock:
            self.check()
            self._running = options
        try:
            yield options
        except Exception as error:  # ONNX Runtime's errors have no common type
            self.check()
            if is_out_of_memory(error):
                raise OutOfDeviceMemory(first_line(error)) from error
            raise RunFailed(first_line(error)) from error
        finally:
            with self._lock:
                self._running = None
