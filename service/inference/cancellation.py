"""Calling off work that runs in another thread."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime as ort

_OUT_OF_MEMORY = re.compile(
    r"Failed to allocate memory|out of memory|OUT_OF_MEMORY|bad_alloc"
    r"|is smaller than requested bytes|Failed to find a free memory block"  # of an arena with a limit
    r"|_ALLOC_FAILED|_ALLOCATION_FAILED"  # cuBLAS; cuDNN 9
)


class Cancelled(Exception):
    """The work was called off."""


class RunFailed(RuntimeError):
    """A run that ONNX Runtime broke off: the graph cannot take this image, or the device is broken."""


class OutOfDeviceMemory(MemoryError):
    """A run needed more memory than the device had left."""


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
    def run_options(self, shrunk_arenas: str = "") -> Iterator[ort.RunOptions]:
        """Options for one run of a session, after which the arenas that are named give back what they do not need.

        A run that is cut short raises Cancelled, one that the device has no memory for OutOfDeviceMemory, any other that
        fails RunFailed.
        """
        options = ort.RunOptions()
        if shrunk_arenas:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", shrunk_arenas)
        with self._lock:
            self.check()
            self._running = options
        try:
            yield options
        except Exception as error:  # ONNX Runtime reports all as general failures, which only their texts tell apart
            self.check()
            if is_out_of_memory(error):
                raise OutOfDeviceMemory(first_line(error)) from error
            raise RunFailed(first_line(error)) from error
        finally:
            with self._lock:
                self._running = None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of ONNX Runtime tells of too little memory."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def first_line(error: Exception) -> str:
    """What an error says, without the stack that ONNX Runtime adds."""
    return (str(error).splitlines() or [type(error).__name__])[0]
