"""Batching of images of one shape into one run: on a GPU, several images cost little more than one."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.inference.sessions.errors import OutOfDeviceMemory

# Batch sizes: both pay off (tests/benchmarks/check_gpu.py), but each size needs its own session for each shape (`per_shape`).
SIZES = (1, 4)
MAX_BATCH_SIZE = SIZES[-1]
BATCH_BYTES = 1 << 30  # limit for the estimated activations of a batch

Run = Callable[[list[NDArray[np.uint8]], Cancellation, int], NDArray[np.float32]]  # called as a `Runner` is


@dataclass(eq=False)
class _Waiting:
    """An image in the queue, and later its scores or its error."""

    image: NDArray[np.uint8]
    cancellation: Cancellation
    result: NDArray[np.float32] | Exception | None = None
    images: int = 1  # in its run
    is_done: bool = False


class Batches:
    """Combines waiting images: while the device is busy, images wait, and those of one shape share the next run.

    No image is held back for a fuller batch: if the device is idle, an image is run at once. Safe from several threads.
    """

    def __init__(self, run: Run, bytes_per_pixel: Callable[[], float]) -> None:
        """`bytes_per_pixel`: estimated bytes that `run` needs for each pixel of all its images."""
        self._run, self._bytes_per_pixel = run, bytes_per_pixel
        self._changed = threading.Condition()  # guards the fields below, and signals their changes
        self._waiting: list[_Waiting] = []
        self._is_running = False  # one run at a time

    def run(self, image: NDArray[np.uint8], cancellation: Cancellation) -> tuple[NDArray[np.float32], int]:
        """(1, H, W, 3) uint8 -> (1, C, h, w) float32, and how many images were in the run.

        Raises Cancelled before its run starts, and whatever the run or `bytes_per_pixel` raises.
        """
        most = largest_batch(self._bytes_per_pixel() * image[..., 0].size)  # before others could wait for this thread
        waiting = _Waiting(image, cancellation)
        with self._changed:
            self._waiting.append(waiting)
            # The thread of the oldest image makes the next run.
            while not waiting.is_done and (self._is_running or self._waiting[0] is not waiting):
                self._changed.wait()
            batch = [] if waiting.is_done else self._next_batch(waiting, most)
            self._is_running = self._is_running or bool(batch)
        if batch:
            try:
                self._run_together(batch)
            finally:
                with self._changed:
                    self._is_running = False
                    self._changed.notify_all()
        result, waiting.result = waiting.result, None
        try:
            if isinstance(result, Exception):
                raise result
            assert result is not None
            return result, waiting.images
        finally:  # an error holds this frame; if the frame held the error too, both would keep a session in memory
            del batch, waiting, result

    def _next_batch(self, first: _Waiting, most: int) -> list[_Waiting]:
        alike = [one for one in self._waiting if one.image.shape == first.image.shape and one is not first]
        batch = [first, *alike[: most - 1]]
        self._waiting = [one for one in self._waiting if one not in batch]
        return batch

    def _run_together(self, batch: list[_Waiting]) -> None:
        live: list[_Waiting] = []
        for one in batch:
            try:
                one.cancellation.check()
                live.append(one)
            except Cancelled as error:
                one.result = error
        try:
            if not live:
                return
            # The run of a single image can be cancelled; a shared run also serves other requests.
            cancellation = live[0].cancellation if len(live) == 1 else Cancellation()
            size = next(size for size in SIZES if size >= len(live))
            scores = self._run([one.image for one in live], cancellation, size)
        except OutOfDeviceMemory as error:
            for one in live:
                one.result = self._alone(one) if len(live) > 1 else error
        except Exception as error:
            for one in live:
                one.result = error
        else:
            for number, one in enumerate(live):
                one.result, one.images = scores[number : number + 1], len(live)
        finally:
            for one in batch:
                one.is_done = True

    def _alone(self, waiting: _Waiting) -> NDArray[np.float32] | Exception:
        try:
            return self._run([waiting.image], waiting.cancellation, 1)
        except Exception as error:
            return error


def largest_batch(image_bytes: float) -> int:
    """The largest of the SIZES whose images, with `image_bytes` of activations each, fit into BATCH_BYTES; at least 1."""
    return max([size for size in SIZES if size * image_bytes <= BATCH_BYTES], default=1)
