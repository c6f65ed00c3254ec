"""Who runs when: admission by cost, a bounded queue, worker threads, deadlines. Knows nothing of HTTP."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar, cast

from service.inference.cancellation import Cancellation, Cancelled, OutOfDeviceMemory, RunFailed
from service.inference.device import DeviceUnavailable

FAILURES = (RunFailed, OutOfDeviceMemory, DeviceUnavailable)  # the device's or a model's; other errors are of what was sent
CLOSE_S = 10.0
LOOK_S = 0.1  # between two looks whether what waits for room has been called off
SENT_EFFORT = 0.1  # of a pixel to decode and to label, if one that the network sees is 1: 60 and 530 ns on one core
NEWEST_SHARE = 0.1  # of the speed that is expected, that the newest measurement makes up; at first all count alike
MOST_WAIT = 0.8  # of its deadline, that work may be expected to wait when it is accepted: speeds vary

T = TypeVar("T")


class QueueFull(RuntimeError):
    """Accepting this work would exceed the queue; `retry_after_s` guesses when it would fit."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too much work is queued")
        self.retry_after_s = retry_after_s


class DeadlineExceeded(TimeoutError):
    """The work was called off because its time was over."""


@dataclass(eq=False)
class Ticket:
    """A piece of accepted work, as its worker sees it."""

    cancellation: Cancellation
    work: Callable[["Ticket"], object] | None  # null once it is over: what it holds is let go of
    megapixels: float
    held_pixels: int
    accepted: float  # time.perf_counter() of admission
    due: float  # ... of its deadline
    started: float = 0.0  # ... and of its first step on a worker
    at_work: int = 1  # tickets that had started by then, itself among them
    has_all_cores: bool = True  # else one: so much other work was accepted when it started

    @property
    def effort(self) -> float:
        """What its time is measured by, in megapixels that the network sees: those that were sent take some as well."""
        return self.megapixels + SENT_EFFORT * self.held_pixels / 1e6

    @property
    def queued_ms(self) -> float:
        """Milliseconds between admission and the worker's first step."""
        return (self.started - self.accepted) * 1000


class Engine:
    """Runs blocking work on threads, within bounds. Use from one event loop."""

    def __init__(self, workers: int, queue_megapixels: float, most_held_pixels: float = math.inf) -> None:
        """`most_held_pixels`: of the images that are at work at once, at the size that they were sent in."""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="segment")
        self._capacity = queue_megapixels
        self._most_held, self._held, self._let_go = most_held_pixels, 0, threading.Condition()
        self._workers = workers
        self._effort_per_s = 5.0 * workers  # of all workers: a guess, until the first is measured
        self._measured = 0
        self._has_given_up = False
        self._tickets: set[Ticket] = set()  # accepted, and still in memory
        self.admitted_megapixels = 0.0
        self.last_success = time.monotonic()  # or the start
        self.last_failure = 0.0  # time.monotonic() when work last ended in one of FAILURES

    async def run(self, work: Callable[[Ticket], T], megapixels: float, deadline_s: float, held_pixels: int = 0) -> T:
        """Run `work` on a worker thread and return its result.

        `megapixels` are what it costs, `held_pixels` what it holds in memory from its first step on. Work heavier than the
        whole queue is accepted when nothing else is. Raises QueueFull at once, also if by what has been measured the work
        would wait longer than its deadline; DeadlineExceeded after `deadline_s` seconds, Cancelled after `give_up`, and
        whatever the work raises.
        """
        if self._has_given_up:
            raise Cancelled
        now = time.perf_counter()
        ticket = Ticket(Cancellation(), work, megapixels, held_pixels, now, now + deadline_s)
        ahead = self._ahead(now)
        is_full = self.admitted_megapixels > 0 and self.admitted_megapixels + megapixels > self._capacity
        is_late = ahead > 0 and ahead + ticket.effort > MOST_WAIT * self._effort_per_s * deadline_s
        if is_full or is_late:
            raise QueueFull(self._retry_after_s(now))
        self._tickets.add(ticket)
        self.admitted_megapixels += megapixels
        future = self._pool.submit(copy_context().run, self._start, ticket)  # with the request's id, for the log
        loop = asyncio.get_running_loop()
        # The place is given back when the worker lets go of the memory, not when the client stops waiting.
        future.add_done_callback(lambda done: self._ended(done, ticket, loop))
        try:
            async with asyncio.timeout(deadline_s):
                return cast(T, await asyncio.wrap_future(future))
        except TimeoutError as error:
            raise DeadlineExceeded(f"not finished within {deadline_s:.1f} s") from error
        finally:
            ticket.cancellation.cancel()  # nothing to do when it has finished

    def _ahead(self, now: float) -> float:
        """Effort, by what has been measured, that is still to be made before other work can start."""
        tickets = tuple(self._tickets)
        if len(tickets) < self._workers:
            return 0.0
        speed = self._effort_per_s / self._workers
        return sum(max(0.0, ticket.effort - speed * (now - (ticket.started or now))) for ticket in tickets)

    def _retry_after_s(self, now: float) -> int:
        """When all that is accepted is done, by what has been measured, or has missed its deadline."""
        tickets = tuple(self._tickets)
        done_in = sum(ticket.effort for ticket in tickets) / self._effort_per_s
        over_in = max((ticket.due - now for ticket in tickets), default=0.0)
        return max(1, math.ceil(min(done_in, over_in)))

    def has_hung(self, seconds: float) -> bool:
        """Whether work has not ended so many seconds after its deadline, when it was called off."""
        return any(time.perf_counter() > ticket.due + seconds for ticket in tuple(self._tickets))

    def give_up(self) -> None:
        """Call all accepted work off, and accept none any more."""
        self._has_given_up = True
        for ticket in tuple(self._tickets):
            ticket.cancellation.cancel()

    def close(self) -> bool:
        """Stop the workers; whether running work has ended within CLOSE_S seconds."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + CLOSE_S
        while any(ticket.started for ticket in tuple(self._tickets)) and time.monotonic() < end:
            time.sleep(0.01)
        return not any(ticket.started for ticket in tuple(self._tickets))

    def _start(self, ticket: Ticket) -> object:
        with self._room_for(ticket):
            work = ticket.work
            assert work is not None  # it would have been cancelled
            ticket.started = time.perf_counter()
            ticket.at_work = sum(1 for one in tuple(self._tickets) if one.started)
            ticket.has_all_cores = 2 * len(self._tickets) <= max(2, self._workers)  # tests/benchmarks/bench_scheduling.py
            ticket.cancellation.check()
            return work(ticket)

    @contextmanager
    def _room_for(self, ticket: Ticket) -> Iterator[None]:
        """Wait until the images at work leave room for this one, or none is. Raises Cancelled."""
        with self._let_go:
            while self._held and self._held + ticket.held_pixels > self._most_held:
                ticket.cancellation.check()
                self._let_go.wait(LOOK_S)
            self._held += ticket.held_pixels
        try:
            yield
        finally:
            with self._let_go:
                self._held -= ticket.held_pixels
                self._let_go.notify_all()

    def _ended(self, done: Future[object], ticket: Ticket, loop: asyncio.AbstractEventLoop) -> None:
        self._tickets.discard(ticket)
        ticket.work = None
        with suppress(RuntimeError):  # the loop is closed: work that had hung ends after the service
            loop.call_soon_threadsafe(self._release, done, ticket)

    def _release(self, done: Future[object], ticket: Ticket) -> None:
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
