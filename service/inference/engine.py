"""Who runs when: admission by cost, a bounded queue, worker threads, deadlines. Knows nothing of HTTP."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from service.inference.cancellation import Cancellation

T = TypeVar("T")


class QueueFull(RuntimeError):
    """Accepting this work would exceed the queue; `retry_after_s` guesses when it would fit."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too much work is queued")
        self.retry_after_s = retry_after_s


class DeadlineExceeded(TimeoutError):
    """The work was called off because its time was over."""


@dataclass
class Ticket:
    """A piece of accepted work, as its worker sees it."""

    cancellation: Cancellation
    accepted: float  # time.perf_counter() of admission
    started: float = 0.0  # ... and of its first step on a worker
    alone: bool = True  # no other work was accepted when it started

    @property
    def queued_ms(self) -> float:
        """Milliseconds between admission and the worker's first step."""
        return (self.started - self.accepted) * 1000


class Engine:
    """Runs blocking work on threads, within bounds. Use from one event loop."""

    def __init__(self, workers: int, queue_megapixels: float) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="segment")
        self._capacity = queue_megapixels
        self._workers = workers
        self._megapixels_per_s = 5.0  # of one worker: a first guess, measured from then on
        self._admitted = 0
        self.admitted_megapixels = 0.0
        self.last_success = time.monotonic()  # or the start

    async def run(self, work: Callable[[Ticket], T], megapixels: float, deadline_s: float) -> T:
        """Run `work` on a worker thread and return its result.

        Work heavier than the whole queue is accepted when nothing else is. Raises QueueFull at once,
        DeadlineExceeded after `deadline_s` seconds, and whatever the work raises.
        """
        if self.admitted_megapixels > 0 and self.admitted_megapixels + megapixels > self._capacity:
            raise QueueFull(max(1, math.ceil(self.admitted_megapixels / (self._megapixels_per_s * self._workers))))
        ticket = Ticket(Cancellation(), time.perf_counter())
        self._admitted += 1
        self.admitted_megapixels += megapixels
        future = self._pool.submit(self._start, work, ticket)
        loop = asyncio.get_running_loop()
        # The place is given back when the worker lets go of the memory, not when the client stops waiting.
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._release, done, ticket, megapixels))
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise DeadlineExceeded(f"not finished within {deadline_s:.1f} s") from error
        finally:
            ticket.cancellation.cancel()  # nothing to do when it has finished

    def close(self) -> None:
        """Wait for running work and stop the workers."""
        self._pool.shutdown(cancel_futures=True)

    def _start(self, work: Callable[[Ticket], T], ticket: Ticket) -> T:
        ticket.started = time.perf_counter()
        ticket.alone = self._admitted == 1
        ticket.cancellation.check()
        return work(ticket)

    def _release(self, done: Future[T], ticket: Ticket, megapixels: float) -> None:
        self._admitted -= 1
        self.admitted_megapixels -= megapixels
        if self.admitted_megapixels < 1e-9:  # rounding of many additions and subtractions
            self.admitted_megapixels = 0.0
        if not done.cancelled() and done.exception() is None:
            rate = megapixels / max(1e-3, time.perf_counter() - ticket.started)
            self._megapixels_per_s += 0.1 * (rate - self._megapixels_per_s)
            self.last_success = time.monotonic()
