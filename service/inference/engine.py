"""Who runs when: admission by cost, a bounded queue, worker threads, deadlines. Knows nothing of HTTP."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar, cast

from service.inference.cancellation import Cancellation, Cancelled, OutOfDeviceMemory, RunFailed
from service.inference.device import DeviceUnavailable

FAILURES = (RunFailed, OutOfDeviceMemory, DeviceUnavailable)  # the device's or a model's; other errors are of what was sent
CLOSE_S = 10.0
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
    context: Context = field(default_factory=copy_context)  # with the request's id, for the log
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
        self._workers, self._capacity, self._most_held = workers, queue_megapixels, most_held_pixels
        self._threads: list[threading.Thread] = []  # as many as there was work for at once
        self._changed = threading.Condition()  # of what follows
        self._waiting: dict[Ticket, Future[object]] = {}  # in the order in which they were accepted
        self._at_work: set[Ticket] = set()
        self._effort_per_s = 5.0 * workers  # of all workers: a guess, until the first is measured
        self._measured = 0
        self._has_given_up = False
        self._ends_by: float | None = None  # time.monotonic()
        self.admitted_megapixels = 0.0
        self.last_success = time.monotonic()  # or the start
        self.last_failure = 0.0  # time.monotonic() when work last ended in one of FAILURES

    async def run(self, work: Callable[[Ticket], T], megapixels: float, deadline_s: float, held_pixels: int = 0) -> T:
        """Run `work` on a worker thread and return its result.

        `megapixels` are what it costs, `held_pixels` what it holds in memory from its first step on. Work heavier than the
        whole queue is accepted when nothing else is. Raises QueueFull at once, also if by what has been measured the work
        would wait longer than its deadline; DeadlineExceeded after `deadline_s` seconds, Cancelled after `give_up`,
        MemoryError where there can be no thread for it, and whatever the work raises.
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
        self._ensure_worker()
        self.admitted_megapixels += megapixels
        future: Future[object] = Future()
        # The place is given back when the worker lets go of the memory, not when the client stops waiting.
        future.add_done_callback(partial(self._left, ticket, asyncio.get_running_loop()))
        with self._changed:
            self._waiting[ticket] = future
            self._changed.notify()
        try:
            async with asyncio.timeout(deadline_s) as timeout:
                return cast(T, await asyncio.wrap_future(future))
        except TimeoutError:
            if not timeout.expired():  # it is the work's own
                raise
        finally:
            ticket.cancellation.cancel()  # nothing to do when it has finished
            del future, work  # or an error would keep them, and they the error
        raise DeadlineExceeded(f"not finished within {deadline_s:.1f} s")

    def _ahead(self, now: float) -> float:
        """Effort, by what has been measured, that is still to be made before other work can start."""
        tickets = self._accepted
        if len(tickets) < self._workers:
            return 0.0
        speed = self._effort_per_s / self._workers
        return sum(max(0.0, ticket.effort - speed * (now - (ticket.started or now))) for ticket in tickets)

    def _retry_after_s(self, now: float) -> int:
        """When all that is accepted is done, by what has been measured, or has missed its deadline."""
        tickets = self._accepted
        done_in = sum(ticket.effort for ticket in tickets) / self._effort_per_s
        over_in = max((ticket.due - now for ticket in tickets), default=0.0)
        return max(1, math.ceil(min(done_in, over_in)))

    def has_hung(self, seconds: float) -> bool:
        """Whether work has not ended so many seconds after its deadline, when it was called off."""
        return any(time.perf_counter() > ticket.due + seconds for ticket in self._accepted)

    def give_up(self) -> None:
        """Call all accepted work off, and accept none any more: what waits has ended then."""
        with self._changed:
            self._has_given_up = True
            waiting, self._waiting = self._waiting, {}
            for ticket in self._at_work:
                ticket.cancellation.cancel()
            self._changed.notify_all()
        for future in waiting.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(Cancelled())

    def close(self) -> bool:
        """Give up, and stop the workers; whether running work has ended within CLOSE_S seconds of the first call."""
        self._ends_by = self._ends_by or time.monotonic() + CLOSE_S
        self.give_up()
        for thread in self._threads:
            thread.join(max(0.0, self._ends_by - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def _accepted(self) -> list[Ticket]:
        """All that is still in memory."""
        with self._changed:
            return [*self._at_work, *self._waiting]

    def _ensure_worker(self) -> None:
        """Start one more, if there is more work than there are, and there may be. Raises MemoryError if there is none."""
        if len(self._threads) >= min(self._workers, len(self._accepted) + 1):
            return
        thread = threading.Thread(target=self._serve, name=f"segment_{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # a process may have no more than so many
            if not self._threads:
                raise MemoryError(str(error)) from error
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        """A worker: one piece of work after another."""
        while True:
            with self._changed:
                while (ticket := self._next()) is None:
                    if self._has_given_up:
                        return
                    self._changed.wait()
                future = self._waiting.pop(ticket)
                if not future.set_running_or_notify_cancel():
                    del ticket, future
                    continue
                self._at_work.add(ticket)
                ticket.started = time.perf_counter()
                ticket.at_work = len(self._at_work)
                accepted = ticket.at_work + len(self._waiting)
                ticket.has_all_cores = 2 * accepted <= max(2, self._workers)  # tests/benchmarks/bench_scheduling.py
            try:
                future.set_result(ticket.context.run(self._run, ticket))
            except BaseException as error:  # whatever it is, who waits is told
                future.set_exception(error)
            del ticket, future  # a worker that waits for other work holds nothing

    def _run(self, ticket: Ticket) -> object:
        ticket.cancellation.check()
        assert ticket.work is not None  # it would have been cancelled
        return ticket.work(ticket)

    def _next(self) -> Ticket | None:
        """What has waited longest, if the images at work leave room for it, or none is.

        What was accepted later may pass it, but all that passes leaves it room: then it waits for those alone that were
        accepted before it.
        """
        room = self._most_held - sum(one.held_pixels for one in self._at_work)
        waiting = iter(self._waiting)
        if (first := next(waiting, None)) is None:
            return None
        if first.held_pixels <= room or not self._at_work:
            return first
        later = sum(one.held_pixels for one in self._at_work if one.accepted > first.accepted)
        room = min(room, self._most_held - first.held_pixels - later)
        return next((one for one in waiting if one.held_pixels <= room), None)

    def _left(self, ticket: Ticket, loop: asyncio.AbstractEventLoop, done: Future[object]) -> None:
        """It is called off, or has ended on its worker."""
        with self._changed:
            self._waiting.pop(ticket, None)
            self._at_work.discard(ticket)
            self._changed.notify_all()  # of the room that it leaves
        ticket.work = None
        with suppress(RuntimeError):  # the loop is closed: work that had hung ends after the service
            loop.call_soon_threadsafe(self._account, done, ticket)

    def _account(self, done: Future[object], ticket: Ticket) -> None:
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
