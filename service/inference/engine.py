"""What is accepted, and until when: admission by cost, a bounded queue, deadlines. Knows nothing of HTTP."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

from service.inference.cancellation import Cancelled, OutOfDeviceMemory, RunFailed
from service.inference.device import DeviceUnavailable
from service.inference.workers import Ticket, Workers

FAILURES = (RunFailed, OutOfDeviceMemory, DeviceUnavailable)  # the device's or a model's; other errors are of what was sent
NEWEST_SHARE = 0.1  # weight of the newest measurement in the expected speed; the first ones count alike
MOST_EXPECTED = 0.8  # share of its deadline in which accepted work must be expected to end: speeds vary

T = TypeVar("T")


class QueueFull(RuntimeError):
    """Accepting this work would exceed the queue; `retry_after_s` guesses when it would fit."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too much work is queued")
        self.retry_after_s = retry_after_s


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
        ahead = self._ahead(now)
        is_full = self.admitted_megapixels > 0 and self.admitted_megapixels + megapixels > self._capacity
        is_late = ahead > 0 and ahead + ticket.effort > MOST_EXPECTED * self._effort_per_s * deadline_s
        if is_full or is_late:
            raise QueueFull(self._retry_after_s(now))
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

    def _ahead(self, now: float) -> float:
        """Effort, by what has been measured, that is still to be made before other work can start."""
        tickets = self._workers.accepted
        if len(tickets) < self._workers.most:
            return 0.0
        speed = self._effort_per_s / self._workers.most
        return sum(max(0.0, ticket.effort - speed * (now - (ticket.started or now))) for ticket in tickets)

    def _retry_after_s(self, now: float) -> int:
        """When all that is accepted is done, by what has been measured, or has missed its deadline."""
        tickets = self._workers.accepted
        done_in = sum(ticket.effort for ticket in tickets) / self._effort_per_s
        over_in = max((ticket.due - now for ticket in tickets), default=0.0)
        return max(1, math.ceil(min(done_in, over_in)))

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
