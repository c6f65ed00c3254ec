"""Calling off work that runs in another thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime as ort


class Cancelled(Exception):
    """The work was called off."""


class Cancellation:
    """A flag that one thread raises and the working thread obeys, also inside ONNX Runtime."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: ort.RunOptions | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Call the work off: at its next check, and at the next node of a running graph."""
        with self._lock:
            self._cancelled = True
            if self._running is not None:
                self._running.terminate = True

    def check(self) -> None:
        """Raises Cancelled if the work was called off."""
        if self._cancelled:
            raise Cancelled

    @contextmanager
    def run_options(self) -> Iterator[ort.RunOptions]:
        """Options for one run of a session; a run that is cut short raises Cancelled."""
        options = ort.RunOptions()
        with self._lock:
            self.check()
            self._running = options
        try:
            yield options
        except Exception:
            self.check()  # ONNX Runtime reports termination as a general failure
            raise
        finally:
            with self._lock:
                self._running = None
