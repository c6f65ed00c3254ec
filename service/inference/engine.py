"""What is accepted, and until when: admission by cost, a bounded queue, deadlines. Knows nothing of HTTP."""

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

from service.inference.cancellation import Cancelled
from service.inference.device import DeviceUnavailable
from service.inference.errors import OutOfDeviceMemory, RunFailed
from service.inference.workers import Ticket, Workers

# Of the device or the model; all other errors are the request's own.
FAILURES = (RunFailed, OutOfDeviceMemory, DeviceUnavailable)
NEWEST_SHARE = 0.1  # weight of the newest measurement in the expected speed; the first ones count alike
MOST_EXPECTED = 0.8  # share of its deadline in which accepted work must be expected to end: speeds vary

T = TypeVar("T")


class QueueFull(RuntimeError):
    """Work that is not accepted, and the limit that it would exceed; it is expected to fit in `retry_after_s` seconds."""

    def __init__(self, detail: str, limit: float, retry_after_s: float) -> None:
        super().__init__(detail)
        self.limit, self.retry_after_s = limit, max(1, math.ceil(retry_after_s))


class DeadlineExceeded(TimeoutError):
    """The work was called off because its time was over."""


class Engine:
    """Runs blocking work on threads, within bounds. Use from one event loop."""

    def __init__(self, workers: int, queue_megapixels: float, most_held_pixels: float = math.inf) -> None:
        """`most_held_pixels`: of the images that are at work at once, at the size that they were sent in."""
        self._workers, self._capacity = Workers(workers, most_held_pixels), queue_megapixels
        self._effort_per_s = 5.0 * workers  # of all workers: a guess, until the first is measured
        self._measured = 0
        self.admitted_megapixels = 0.0
        self.last_success = time.monotonic()  # or the start
        self.last_failure = 0.0  # time.monotonic() when work last ended in one of FAILURES

    async def run(self, work: Callable[[Ticket], T], megapixels: float, deadline_s: float, held_pixels: int = 0) -> T:
        """Run `work` on a worker thread and return its result.

        `megapixels` are what it costs, `held_pixels` what it holds in memory from its first step on. Work heavier than the
        whole queue is accepted when nothing else is. Raises QueueFull at once, also where, by the speed measured so far, it
        would not end within MOST_EXPECTED of its deadline; DeadlineExceeded after `deadline_s` seconds; Cancelled after
        `give_up`; MemoryError where there can be no thread for it; and whatever the work raises.
        """
        now = time.perf_counter()
        ticket = Ticket(work, megapixels, held_pixels, now, now + deadline_s)
        starts_in, ends_in = self._expected(now)
        if self.admitted_megapixels > 0 and self.admitted_megapixels + megapixels > self._capacity:
            raise QueueFull("too much work is queued", self._capacity, self._room_in(megapixels, ends_in))
        late_by = starts_in + ticket.effort / self._effort_per_worker_s - MOST_EXPECTED * deadline_s
        if starts_in > 0 and late_by > 0:
            raise QueueFull("with the work that is queued it would miss its deadline", deadline_s, late_by)
        future = self._workers.submit(ticket)
        self.admitted_megapixels += megapixels
        # The place is given back when the worker lets go of the memory, not when the client stops waiting.
        future.add_done_callback(partial(self._ended, ticket, asyncio.get_running_loop()))
        try:
            async with asyncio.timeout(deadline_s) as timeout:
                return cast(T, await asyncio.wrap_future(future))
        except TimeoutError:
            if timeout.expired():  # else it is the work's own
                raise DeadlineExceeded(f"not finished within {deadline_s:.1f} s") from None
            raise
        finally:
            ticket.cancellation.cancel()  # nothing to do when it has finished
            del future, work  # or an error would keep them, and they the error

    def has_hung(self, seconds: float) -> bool:
        """Whether work has not ended so many seconds after its deadline, when it was called off."""
        return any(time.perf_counter() > ticket.due + seconds for ticket in self._workers.accepted)

    def give_up(self) -> None:
        """Call all accepted work off, and accept none any more: what waits has ended then."""
        self._workers.give_up()

    def close(self) -> bool:
        """Give up, and stop the workers; whether running work has ended in time."""
        return self._workers.close()

    @property
    def _effort_per_worker_s(self) -> float:
        """Of each, when all are at work."""
        return self._effort_per_s / self._workers.most

    def _expected(self, now: float) -> tuple[float, dict[Ticket, float]]:
        """Seconds until a worker is free for other work, and until each ticket has ended.

        By what has been measured; at its deadline a ticket ends at any rate.
        """
        free_in, ends_in = [0.0] * self._workers.most, dict[Ticket, float]()
        for ticket in self._workers.accepted:
            left = ticket.effort / self._effort_per_worker_s - (now - ticket.started if ticket.started else 0.0)
            ends_in[ticket] = max(0.0, min(free_in[0] + left, ticket.due - now))
            heapq.heapreplace(free_in, ends_in[ticket])
        return free_in[0], ends_in

    def _room_in(self, megapixels: float, ends_in: Mapping[Ticket, float]) -> float:
        """Seconds until the queue has room for so many."""
        admitted = self.admitted_megapixels
        for ticket in sorted(ends_in, key=ends_in.__getitem__):
            admitted -= ticket.megapixels
            if admitted + megapixels <= self._capacity:
                return ends_in[ticket]
        return max(ends_in.values(), default=0.0)

    def _ended(self, ticket: Ticket, loop: asyncio.AbstractEventLoop, done: Future[object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: work that had hung ends after the service
            loop.call_soon_threadsafe(self._account, ticket, done)

    def _account(self, ticket: Ticket, done: Future[object]) -> None:
        """Give its place back, and learn from it how fast work is, and whether it succeeds."""
        self.admitted_megapixels -= ticket.megapixels
        if self.admitted_megapixels < 1e-9:  # rounding of many additions and subtractions
            self.admitted_megapixels = 0.0
        if done.cancelled() or isinstance(done.exception(), Cancelled):
            return
        if done.exception() is None:
            rate = ticket.at_work * ticket.effort / max(1e-3, time.perf_counter() - ticket.started)
            self._measured += 1
            self._effort_per_s += max(NEWEST_SHARE, 1 / self._measured) * (rate - self._effort_per_s)
            self.last_success = time.monotonic()
        elif isinstance(done.exception(), FAILURES):
            self.last_failure = time.monotonic()
