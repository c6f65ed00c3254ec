"""What is accepted, and until when: admission by cost, a bounded queue, deadlines. Knows nothing of HTTP."""

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

# Of the device or the model; all other errors are the request's own.
FAILURES = (RunFailed, OutOfDeviceMemory, DeviceUnavailable)
NEWEST_SHARE = 0.1  # weight of the newest measurement in the expected speed; the first ones count alike
MAX_DEADLINE_SHARE = 0.8  # share of its deadline in which accepted work must be expected to end: speeds vary

EXPECTED_SPEED = 5.0  # effort a second of each worker, until the first work of a kind is measured

T = TypeVar("T")


class QueueFull(RuntimeError):
    """Work that is not accepted, and the limit that it would exceed; it is expected to fit in `retry_after_s` seconds."""

    def __init__(self, detail: str, limit: float, retry_after_s: float) -> None:
        super().__init__(detail)
        self.limit, self.retry_after_s = limit, max(1, math.ceil(retry_after_s))


class DeadlineExceeded(TimeoutError):
    """The work was called off because its time was over."""


@dataclass
class _Speed:
    """How fast work of one kind is done."""

    per_worker: float  # effort a second of each worker, when all are at work
    measured: int = 0

    def measure(self, effort: float, seconds: float) -> None:
        """Learn from what one worker has done in so many seconds."""
        self.measured += 1
        self.per_worker += max(NEWEST_SHARE, 1 / self.measured) * (effort / max(1e-3, seconds) - self.per_worker)


class Engine:
    """Runs blocking work on threads, within bounds. Use from one event loop."""

    def __init__(self, workers: int, queue_megapixels: float, most_held_pixels: float = math.inf) -> None:
        """`most_held_pixels`: of the images that are at work at once, at the size that they were sent in."""
        self._workers, self._capacity = Workers(workers, most_held_pixels), queue_megapixels
        self._speeds: dict[str, _Speed] = {}  # by kind
        self.admitted_megapixels = 0.0
        self.last_success = time.monotonic()  # or the start
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

        `megapixels` are what it costs, `held_pixels` what it holds in memory from its first step on. Its speed is measured
        with that of all work of its `kind`, a network's; until then it is `expected_speed`, megapixels a second of each
        worker. Work heavier than the whole queue is accepted when nothing else is. Raises QueueFull at once, also where, by
        that speed, it would not end within MAX_DEADLINE_SHARE of its deadline; DeadlineExceeded after `deadline_s` seconds;
        Cancelled after `give_up`; MemoryError where there can be no thread for it; and whatever the work raises.
        """
        now = time.perf_counter()
        ticket = Ticket(work, megapixels, held_pixels, now, now + deadline_s, kind)
        self._speeds.setdefault(kind, _Speed(expected_speed))
        starts_in, ends_in = self._expected(now)
        if self.admitted_megapixels > 0 and self.admitted_megapixels + megapixels > self._capacity:
            raise QueueFull("too much work is queued", self._capacity, self._room_in(megapixels, ends_in))
        late_by = starts_in + self._seconds(ticket) - MAX_DEADLINE_SHARE * deadline_s
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
            del future, work  # breaks the cycle error -> traceback -> this frame -> future -> error

    def has_hung(self, seconds: float) -> bool:
        """Whether work has not ended so many seconds after its deadline, when it was called off."""
        return any(time.perf_counter() > ticket.due + seconds for ticket in self._workers.accepted)

    def give_up(self) -> None:
        """Call all accepted work off, and accept none any more: what waits has ended then."""
        self._workers.give_up()

    def close(self) -> bool:
        """Give up, and stop the workers; whether running work has ended in time."""
        return self._workers.close()

    def _seconds(self, ticket: Ticket) -> float:
        """That it is expected to take from its first step on, when all workers are at work."""
        return ticket.effort / self._speeds[ticket.kind].per_worker

    def _expected(self, now: float) -> tuple[float, dict[Ticket, float]]:
        """Seconds until a worker is free for other work, and until each ticket has ended.

        By what has been measured; at its deadline a ticket ends at any rate.
        """
        free_in, ends_in = [0.0] * self._workers.most, dict[Ticket, float]()
        for ticket in self._workers.accepted:
            left = self._seconds(ticket) - (now - ticket.started if ticket.started else 0.0)
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
        if done.cancelled():
            return
        seconds, speed = time.perf_counter() - ticket.started, self._speeds[ticket.kind]
        one_workers = ticket.effort * ticket.at_work / self._workers.most
        if isinstance(done.exception(), Cancelled):
            if one_workers < speed.per_worker * seconds:  # it has not ended: so it is at least so slow
                speed.measure(one_workers, seconds)
        elif done.exception() is None:
            speed.measure(one_workers, seconds)
            self.last_success = time.monotonic()
        elif isinstance(done.exception(), FAILURES):
            self.last_failure = time.monotonic()
