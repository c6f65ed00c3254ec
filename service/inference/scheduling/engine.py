"""Admission of work by its cost, with a bounded queue and deadlines; independent of HTTP."""

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from service.inference.scheduling.workers import Ticket, Workers
from service.inference.sessions.cancellation import Cancelled
from service.inference.sessions.device import DeviceUnavailable
from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed

# Errors of the device or the model; all other errors are caused by the request itself.
FAILURES = (RunFailed, OutOfDeviceMemory, DeviceUnavailable)
NEWEST_SHARE = 0.1  # weight of the newest measurement in the expected speed; the first ones count equally
MAX_DEADLINE_SHARE = 0.8  # accepted work must be expected to end within this share of its deadline, since speeds vary

EXPECTED_SPEED = 5.0  # megapixels of effort per second and worker, until the first work of a kind is measured

T = TypeVar("T")


class QueueFull(RuntimeError):
    """The work is not accepted, since it would exceed `limit`; it is expected to be accepted in `retry_after_s` seconds."""

    def __init__(self, detail: str, limit: float, retry_after_s: float) -> None:
        super().__init__(detail)
        self.limit, self.retry_after_s = limit, max(1, math.ceil(retry_after_s))


class DeadlineExceeded(TimeoutError):
    """The work was cancelled because its deadline, `limit` seconds, had passed."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"not finished within {limit:.1f} s")
        self.limit = limit


@dataclass
class _Speed:
    """How fast work of one kind is done."""

    per_worker: float  # megapixels of effort per second and worker, while all workers are busy
    measured: int = 0

    def measure(self, effort: float, seconds: float) -> None:
        """Update the speed: one worker has done `effort` megapixels in `seconds`."""
        self.measured += 1
        self.per_worker += max(NEWEST_SHARE, 1 / self.measured) * (effort / max(1e-3, seconds) - self.per_worker)


class Engine:
    """Runs blocking work on threads, within bounds. Use from one event loop."""

    def __init__(self, workers: int, queue_megapixels: float, most_held_pixels: float) -> None:
        """`most_held_pixels`: limit for all images at work at once, counted at the size in which they were sent."""
        self._workers, self._capacity = Workers(workers, most_held_pixels), queue_megapixels
        self._speeds: dict[tuple[str, bool], _Speed] = {}  # by the tickets' `speed_key`
        self.admitted_megapixels = 0.0
        self.last_success = time.monotonic()  # when work last succeeded; at first, the start
        self.last_failure = 0.0  # time.monotonic() when work last ended in one of FAILURES

    async def run(
        self,
        work: Callable[[Ticket], T],
        megapixels: float,
        deadline_s: float,
        held_pixels: int = 0,
        kind: str = "",
        expected_speed: float = EXPECTED_SPEED,
    ) -> T:
        """Run `work` on a worker thread and return its result.

        `megapixels`: the cost of the work. `held_pixels`: the pixels it holds once it has started. `kind`: all work of one
        kind (one network) shares a measured speed, except that small work has another; until one is measured, it is
        `expected_speed`, in megapixels per second and worker. Work that costs more than the whole queue is accepted only while
        no other work is.

        Raises QueueFull at once if the queue is full, or if the work would have to wait and is not expected to end within
        MAX_DEADLINE_SHARE of its deadline; DeadlineExceeded after `deadline_s` seconds; Cancelled after `give_up`; MemoryError
        if no worker thread can be started; and whatever the work raises.
        """
        now = time.perf_counter()
        ticket = Ticket(work, megapixels, held_pixels, now, now + deadline_s, kind)
        self._speeds.setdefault(ticket.speed_key, _Speed(expected_speed))
        starts_in, ends_in = self._expected(now)
        if self.admitted_megapixels > 0 and self.admitted_megapixels + megapixels > self._capacity:
            raise QueueFull("too much work is queued", self._capacity, self._room_in(megapixels, ends_in))
        late_by = starts_in + self._seconds(ticket) - MAX_DEADLINE_SHARE * deadline_s
        if starts_in > 0 and late_by > 0:
            raise QueueFull("with the work that is queued it would miss its deadline", deadline_s, late_by)
        future = self._workers.submit(ticket)
        self.admitted_megapixels += megapixels
        # The queue has room again when the worker has freed the memory, not when the client stops waiting.
        future.add_done_callback(partial(self._ended, ticket, asyncio.get_running_loop()))
        try:
            async with asyncio.timeout(deadline_s) as timeout:
                return cast(T, await asyncio.wrap_future(future))
        except TimeoutError:
            if not timeout.expired():  # the work itself raised it
                raise
        finally:
            ticket.cancellation.cancel()  # has no effect on work that has finished
            # Breaks the cycle error -> traceback -> this frame -> future, or time-out and its task -> error.
            del future, timeout, work
        raise DeadlineExceeded(deadline_s)  # here, because the other error would be its context, and in a cycle with it

    def has_hung(self, seconds: float) -> bool:
        """Whether some work has not ended `seconds` after its deadline, and after it was cancelled.

        A process that was frozen has work that is long overdue, but that it could not cancel.
        """
        cancelled = ((ticket, ticket.cancellation.cancelled_at) for ticket in self._workers.accepted)
        return any(at is not None and time.perf_counter() > max(at, ticket.due) + seconds for ticket, at in cancelled)

    def give_up(self) -> None:
        """Cancel all accepted work and accept no more. Work that was waiting has ended when this returns."""
        self._workers.give_up()

    def close(self) -> bool:
        """Give up and stop the workers. Returns whether the running work has ended in time."""
        return self._workers.close()

    def _seconds(self, ticket: Ticket) -> float:
        """Seconds that the work is expected to take once started, while all workers are busy."""
        return ticket.effort / self._speeds[ticket.speed_key].per_worker

    def _expected(self, now: float) -> tuple[float, dict[Ticket, float]]:
        """Expected seconds until a worker is free for new work, and until each ticket has ended.

        They follow from the measured speeds; a ticket ends at its deadline at the latest.
        """
        free_in, ends_in = [0.0] * self._workers.most, dict[Ticket, float]()
        for ticket in self._workers.accepted:
            left = self._seconds(ticket) - (now - ticket.started if ticket.started else 0.0)
            ends_in[ticket] = max(0.0, min(free_in[0] + left, ticket.due - now))
            heapq.heapreplace(free_in, ends_in[ticket])
        return free_in[0], ends_in

    def _room_in(self, megapixels: float, ends_in: Mapping[Ticket, float]) -> float:
        """Expected seconds until the queue has room for `megapixels` more."""
        admitted = self.admitted_megapixels
        for ticket in sorted(ends_in, key=ends_in.__getitem__):
            admitted -= ticket.megapixels
            if admitted + megapixels <= self._capacity:
                return ends_in[ticket]
        return max(ends_in.values(), default=0.0)

    def _ended(self, ticket: Ticket, loop: asyncio.AbstractEventLoop, done: Future[object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: hung work may end after the service
            loop.call_soon_threadsafe(self._account, ticket, done)

    def _account(self, ticket: Ticket, done: Future[object]) -> None:
        """Make room in the queue again, and record the speed of the work and whether it succeeded."""
        self.admitted_megapixels -= ticket.megapixels
        if self.admitted_megapixels < 1e-9:  # rounding of many additions and subtractions
            self.admitted_megapixels = 0.0
        if done.cancelled() or not ticket.started:
            return
        seconds, speed = time.perf_counter() - ticket.started - ticket.loading_s, self._speeds[ticket.speed_key]
        # `per_worker` is the speed while all workers are busy; work beside fewer others had more of the machine.
        effort = ticket.effort * ticket.at_work / self._workers.most
        if isinstance(done.exception(), Cancelled):
            if effort < speed.per_worker * seconds:  # it was cut short, so its speed is at most this
                speed.measure(effort, seconds)
        elif done.exception() is None:
            speed.measure(effort, seconds)
            self.last_success = time.monotonic()
        elif isinstance(done.exception(), FAILURES):
            self.last_failure = time.monotonic()
