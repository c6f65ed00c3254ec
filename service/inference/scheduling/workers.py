"""Worker threads that run accepted work in order of admission, within a limit for the images held in memory."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import cached_property, partial

from service.inference.sessions.cancellation import Cancellation, Cancelled

CLOSE_S = 10.0
SENT_EFFORT = 0.1  # effort of decoding and labelling a pixel that was sent; a pixel that the network sees is 1
SMALL_EFFORT = 0.05  # megapixels: work below it takes most of its time for what is the same for images of all sizes


@dataclass(eq=False)
class Ticket:
    """A piece of accepted work, as its worker sees it."""

    work: Callable[["Ticket"], object] | None  # None once the work is over, to free what it holds
    megapixels: float  # 10^6 pixels that the network sees
    held_pixels: int  # pixels that were sent, in memory while the work runs
    accepted: float  # time.perf_counter() when it was accepted
    due: float  # time.perf_counter() at its deadline
    kind: str = ""  # work of one kind takes equally long for the same effort, unless that is small
    cancellation: Cancellation = field(default_factory=Cancellation)
    context: Context = field(default_factory=copy_context)  # with the request's id, for the log
    started: float = 0.0  # time.perf_counter() when a worker started it; 0: it still waits
    loading_s: float = 0.0  # seconds spent on loading what later work will find loaded: not counted in the measured speed
    at_work: int = 1  # tickets at work when this one started, itself included
    has_all_cores: bool = True  # False: one core, since much other work was accepted when this started

    @cached_property
    def effort(self) -> float:
        """The amount of work in megapixels that the network sees; each pixel that was sent adds SENT_EFFORT.

        Small work counts as SMALL_EFFORT, since it takes about as long, however small it is.
        """
        return max(SMALL_EFFORT, self._pixel_effort)

    @cached_property
    def speed_key(self) -> tuple[str, bool]:
        """Key under which the speed is measured: the kind, and whether the work is small."""
        return self.kind, self._pixel_effort < SMALL_EFFORT

    @property
    def _pixel_effort(self) -> float:
        return self.megapixels + SENT_EFFORT * self.held_pixels / 1e6

    @property
    def queued_ms(self) -> float:
        """Milliseconds between admission and the worker's first step."""
        return (self.started - self.accepted) * 1000


class Workers:
    """A thread pool of at most `most` threads, each started when there is work for it."""

    def __init__(self, most: int, most_held_pixels: float) -> None:
        """`most_held_pixels`: limit for all images at work at once, counted at the size in which they were sent."""
        self.most, self._most_held = most, most_held_pixels
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()  # guards the next three fields, and signals their changes
        self._waiting: dict[Ticket, Future[object]] = {}  # in the order in which they were accepted
        self._at_work: set[Ticket] = set()
        self._has_given_up = False
        self._ends_by: float | None = None  # time.monotonic() until which `close` waits

    @property
    def accepted(self) -> list[Ticket]:
        """All tickets at work or waiting."""
        with self._changed:
            return [*self._at_work, *self._waiting]

    def submit(self, ticket: Ticket) -> Future[object]:
        """Queue a ticket and return the future of its result. Cancelling the future while the ticket waits removes the ticket.

        Raises Cancelled after `give_up`, and MemoryError if there is no thread and none can be started.
        """
        future: Future[object] = Future()
        future.add_done_callback(partial(self._left, ticket))
        self._ensure_worker()
        with self._changed:
            if self._has_given_up:
                raise Cancelled
            self._waiting[ticket] = future
            self._changed.notify()
        return future

    def give_up(self) -> None:
        """Cancel all work and accept no more. Work that was waiting has ended with Cancelled when this returns."""
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
        """Give up and stop the threads. Returns whether they have ended within CLOSE_S seconds of the first call."""
        self._ends_by = self._ends_by or time.monotonic() + CLOSE_S
        self.give_up()
        for thread in self._threads:
            thread.join(max(0.0, self._ends_by - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _ensure_worker(self) -> None:
        """Start one more thread if there are fewer threads than tickets."""
        if len(self._threads) >= min(self.most, len(self.accepted) + 1):
            return
        thread = threading.Thread(target=self._serve, name=f"segment_{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the process has reached its limit of threads
            if not self._threads:
                raise MemoryError(str(error)) from error
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        """The loop of a thread: run one ticket after another."""
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
                ticket.has_all_cores = 2 * accepted <= max(2, self.most)  # tests/benchmarks/bench_scheduling.py
            try:
                future.set_result(ticket.context.run(self._run, ticket))
            except BaseException as error:  # every error is passed on to the caller
                future.set_exception(error)
            del ticket, future  # an idle thread must not keep them in memory

    def _run(self, ticket: Ticket) -> object:
        ticket.cancellation.check()
        assert ticket.work is not None  # else its future was cancelled, and it would not be run
        return ticket.work(ticket)

    def _next(self) -> Ticket | None:
        """The oldest waiting ticket, if there is room for it or nothing is at work.

        Otherwise the first later ticket that fits now and would still fit beside the oldest one, once all work that was
        accepted before the oldest one has ended.
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

    def _left(self, ticket: Ticket, _: Future[object]) -> None:
        """Remove a ticket that has ended, or was cancelled before it started."""
        ticket.work = None
        with self._changed:
            self._waiting.pop(ticket, None)
            self._at_work.discard(ticket)
            self._changed.notify_all()  # there may be room for another ticket
