"""Images that wait for the device at the same time share a run, and each gets its own scores."""

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from numpy.typing import NDArray

from service.inference.sessions.batching import BATCH_BYTES, MAX_BATCH_SIZE, Batches, largest_batch
from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.inference.sessions.errors import OutOfDeviceMemory
from tests.service.helpers.waiting import wait_until

PATIENCE_S = 30.0


def image(value: int, height: int = 4) -> NDArray[np.uint8]:
    return np.full((1, height, 4, 3), value, np.uint8)


class Device:
    """Its scores are the image's first value; it can be held."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.broken_height, self.room = 0, MAX_BATCH_SIZE

    def __call__(self, images: list[NDArray[np.uint8]], cancellation: Cancellation, size: int) -> NDArray[np.float32]:
        batch = np.concatenate(images)
        assert len(batch) <= size
        self.shapes.append((size, *batch.shape[1:]))
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        if batch.shape[1] == self.broken_height:
            raise RuntimeError("broken")
        if size > self.room:
            raise OutOfDeviceMemory
        with cancellation.run_options():
            return batch[:, :1, :1, :1].astype(np.float32)


class Crowd:
    """Threads that come while the device is held by a first one."""

    def __init__(self, device: Device | None = None, bytes_per_pixel: float = 1.0) -> None:
        self.device = device or Device()
        self.batches = Batches(self.device, lambda: bytes_per_pixel)
        self.pool = ThreadPoolExecutor(32)
        self.device.gate.clear()
        self.first = self.pool.submit(self.batches.run, image(99, height=8), Cancellation())
        assert self.device.entered.wait(PATIENCE_S)

    def alone(self, one: NDArray[np.uint8]) -> float:
        return float(self.batches.run(one, Cancellation())[0][0, 0, 0, 0])

    def wait_for(self, number: int) -> None:
        """Until so many images wait for the device."""
        wait_until(lambda: len(self.batches._waiting) == number)

    def come(self, *images: NDArray[np.uint8], cancellation: Cancellation | None = None) -> list[float | Exception]:
        """One after the other; the cancellation is the first one's."""
        futures: list[Future[tuple[NDArray[np.float32], int]]] = []
        for one in images:
            futures.append(self.pool.submit(self.batches.run, one, cancellation or Cancellation()))
            cancellation = None
            self.wait_for(len(futures))
        self.device.gate.set()
        results: list[float | Exception] = []
        for future in futures:
            error = future.exception(PATIENCE_S)
            assert error is None or isinstance(error, Exception)
            results.append(error or float(future.result()[0][0, 0, 0, 0]))
        assert float(self.first.result(PATIENCE_S)[0][0, 0, 0, 0]) == 99
        self.pool.shutdown()
        return results


def test_an_image_that_is_alone_is_run_at_once_and_alone() -> None:
    device = Device()
    scores, images = Batches(device, lambda: 1.0).run(image(7), Cancellation())
    assert (scores[0, 0, 0, 0], images) == (7, 1)
    assert device.shapes == [(1, 4, 4, 3)]


def test_images_of_a_shape_that_wait_are_run_together_and_each_gets_its_own_scores() -> None:
    crowd = Crowd()
    assert crowd.come(*map(image, range(3))) == [0, 1, 2]
    assert crowd.device.shapes == [(1, 8, 4, 3), (4, 4, 4, 3)]  # three take the room of four


def test_each_is_told_how_many_shared_its_run() -> None:
    crowd = Crowd()
    futures = [crowd.pool.submit(crowd.batches.run, one, Cancellation()) for one in (image(1), image(2), image(3, height=16))]
    crowd.wait_for(3)
    crowd.device.gate.set()
    assert [future.result(PATIENCE_S)[1] for future in (crowd.first, *futures)] == [1, 2, 2, 1]
    crowd.pool.shutdown()


def test_an_image_whose_memory_cannot_be_estimated_is_in_nobodys_way() -> None:
    estimates: Iterator[float | OutOfDeviceMemory] = iter([OutOfDeviceMemory("no memory to look at the file"), 1.0])

    def bytes_per_pixel() -> float:
        found = next(estimates)
        if isinstance(found, OutOfDeviceMemory):
            raise found
        return found

    batches = Batches(Device(), bytes_per_pixel)
    with pytest.raises(OutOfDeviceMemory):
        batches.run(image(1), Cancellation())
    assert batches.run(image(2), Cancellation())[0][0, 0, 0, 0] == 2


def test_images_of_other_shapes_are_run_apart() -> None:
    crowd = Crowd()
    assert crowd.come(image(1), image(2, height=16), image(3), image(4, height=16)) == [1, 2, 3, 4]
    assert sorted(crowd.device.shapes[1:]) == [(4, 4, 4, 3), (4, 16, 4, 3)]


def test_a_run_holds_so_many_images_and_no_more() -> None:
    crowd = Crowd()
    assert crowd.come(*map(image, range(MAX_BATCH_SIZE + 2))) == list(range(MAX_BATCH_SIZE + 2))
    assert [shape[0] for shape in crowd.device.shapes[1:]] == [MAX_BATCH_SIZE, MAX_BATCH_SIZE]


def test_what_fails_fails_for_all_that_share_the_run_and_for_no_others() -> None:
    crowd = Crowd()
    crowd.device.broken_height = 4
    assert [type(result) for result in crowd.come(image(1), image(2))] == [RuntimeError] * 2
    assert crowd.alone(image(3, height=8)) == 3


def test_a_batch_that_finds_too_little_memory_is_run_one_by_one() -> None:
    crowd = Crowd()
    crowd.device.room = 1
    assert crowd.come(image(1), image(2), image(3)) == [1, 2, 3]
    assert [shape[0] for shape in crowd.device.shapes] == [1, 4, 1, 1, 1]


@pytest.mark.parametrize(("room", "size"), [(0.5, 1), (1, 1), (3.9, 1), (4, 4), (100, MAX_BATCH_SIZE)])
def test_a_batch_has_no_more_images_than_there_is_room_for(room: float, size: int) -> None:
    assert largest_batch(BATCH_BYTES / room) == size


def test_images_that_would_not_fit_together_are_run_one_by_one() -> None:
    crowd = Crowd(bytes_per_pixel=BATCH_BYTES / 48)  # room for three of their 16 pixels, and a batch is of four
    assert crowd.come(image(1), image(2)) == [1, 2]
    assert [shape[0] for shape in crowd.device.shapes] == [1, 1, 1]


def test_who_is_cancelled_while_waiting_is_not_run() -> None:
    crowd, cancelled = Crowd(), Cancellation()
    cancelled.cancel()
    [result] = crowd.come(image(1), cancellation=cancelled)
    assert isinstance(result, Cancelled)
    assert crowd.device.shapes == [(1, 8, 4, 3)]


def test_who_is_cancelled_during_a_shared_run_does_not_end_it_for_others() -> None:
    leaving = Cancellation()

    class Left(Device):
        def __call__(self, images: list[NDArray[np.uint8]], cancellation: Cancellation, size: int) -> NDArray[np.float32]:
            if len(images) == 2:
                leaving.cancel()
            return super().__call__(images, cancellation, size)

    crowd = Crowd(Left())
    assert crowd.come(image(1), image(2), cancellation=leaving) == [1, 2]


def test_who_has_its_scores_does_not_wait_for_runs_of_others() -> None:
    second = threading.Event()

    class Slow(Device):
        def __call__(self, images: list[NDArray[np.uint8]], cancellation: Cancellation, size: int) -> NDArray[np.float32]:
            if images[0].shape[1] == 16:  # the last to be run: it does not end by itself
                assert second.wait(PATIENCE_S)
            return super().__call__(images, cancellation, size)

    crowd = Crowd(Slow())
    futures = [crowd.pool.submit(crowd.batches.run, one, Cancellation()) for one in (image(1), image(2))]
    crowd.wait_for(2)
    futures.append(crowd.pool.submit(crowd.batches.run, image(3, height=16), Cancellation()))
    crowd.wait_for(3)
    crowd.device.gate.set()
    assert [float(future.result(PATIENCE_S)[0][0, 0, 0, 0]) for future in futures[:2]] == [1, 2]
    second.set()
    assert float(futures[2].result(PATIENCE_S)[0][0, 0, 0, 0]) == 3
    crowd.pool.shutdown()


def test_an_error_that_is_handled_keeps_nothing_of_the_run_that_raised_it() -> None:
    class Held:
        """As a session is, by the frames of its run."""

    gone: list[weakref.ref[Held]] = []

    def run(images: list[NDArray[np.uint8]], cancellation: Cancellation, size: int) -> NDArray[np.float32]:
        held = Held()
        gone.append(weakref.ref(held))
        raise OutOfDeviceMemory

    gc.disable()  # what keeps itself would stay until the next search for it
    try:
        with suppress(OutOfDeviceMemory):
            Batches(run, lambda: 1.0).run(image(1), Cancellation())
        assert [one() for one in gone] == [None]
    finally:
        gc.enable()
