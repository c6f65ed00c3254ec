"""Threads that work on what has been accepted: in its order, as far as there is room for the images that it holds."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial

from service.inference.sessions.cancellation import Cancellation, Cancelled

CLOSE_S = 10.0
SENT_EFFORT = 0.1  # of a pixel that is decoded and labelled, if one that the network sees is 1


@dataclass(eq=False)
class Ticket:
    """A piece of accepted work, as its worker sees it."""

    work: Callable[["Ticket"], object] | None  # null once it is over: what it holds is let go of
    megapixels: float  # that the network sees
    held_pixels: int  # that were sent, and are in memory while it is at work
    accepted: float  # time.perf_counter() when it was accepted
    due: float  # ... when its deadline ends
    kind: str = ""  # of work that takes alike for the same effort
    cancellation: Cancellation = field(default_factory=Cancellation)
    context: Context = field(default_factory=copy_context)  # with the request's id, for the log
    started: float = 0.0  # ... at its first step on a worker; 0: it still waits
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


class Workers:
    """At most so many threads; each is started when there is work for it."""

    def __init__(self, most: int, most_held_pixels: float) -> None:
        """`most_held_pixels`: of the images that are at work at once, at the size that they were sent in."""
        self.most, self._most_held = most, most_held_pixels
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()  # of what follows
        self._waiting: dict[Ticket, Future[object]] = {}  # in the order in which they were accepted
        self._at_work: set[Ticket] = set()
        self._has_given_up = False
        self._ends_by: float | None = None  # time.monotonic()

    @property
    def accepted(self) -> list[Ticket]:
        """All that is still in memory."""
        with self._changed:
            return [*self._at_work, *self._waiting]

    def submit(self, ticket: Ticket) -> Future[object]:
        """The result of its work, to come; cancelled, it is not begun.

        Raises Cancelled after `give_up`, and MemoryError if there is no thread and can be none.
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
        """Call all off, and take none any more: what waits has ended then, as Cancelled."""
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
        """Give up, and stop the threads; whether they have ended within CLOSE_S seconds of the first call."""
        self._ends_by = self._ends_by or time.monotonic() + CLOSE_S
        self.give_up()
        for thread in self._threads:
            thread.join(max(0.0, self._ends_by - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _ensure_worker(self) -> None:
        """Start one more, if there is more work than there are."""
        if len(self._threads) >= min(self.most, len(self.accepted) + 1):
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
        """A thread: one piece of work after another."""
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
            except BaseException as error:  # whatever it is, who waits is told
                future.set_exception(error)
            del ticket, future  # a thread that waits for other work holds nothing

    def _run(self, ticket: Ticket) -> object:
        ticket.cancellation.check()
        assert ticket.work is not None  # it would have been cancelled
        return ticket.work(ticket)

    def _next(self) -> Ticket | None:
        """The oldest that waits, if there is room for it or nothing is at work.

        Else a later one that fits now, and would still fit beside the oldest once all that was accepted before that has
        ended.
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
        """It was called off before it began, or has ended."""
        ticket.work = None
        with self._changed:
            self._waiting.pop(ticket, None)
            self._at_work.discard(ticket)
            self._changed.notify_all()  # of the room that it leaves
