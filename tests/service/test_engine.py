"""Admission, deadlines, and places that are given back; without HTTP."""

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import pytest

from service.inference.cancellation import Cancellation, Cancelled
from service.inference.engine import DeadlineExceeded, Engine, QueueFull
from service.inference.errors import RunFailed
from service.inference.workers import Ticket

PATIENCE_S = 30.0
P = ParamSpec("P")


def asynchronous(test: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    """Run a coroutine as a test."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), PATIENCE_S))

    return run


@contextmanager
def engine_of(workers: int = 1, queue_megapixels: float = 10) -> Iterator[Engine]:
    """An engine that is closed afterwards."""
    engine = Engine(workers, queue_megapixels)
    try:
        yield engine
    finally:
        engine.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    while not condition():
        await asyncio.sleep(0.005)


class Held:
    """Work that takes as long as a test wants."""

    def __init__(self) -> None:
        self.started, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, ticket: Ticket) -> str:
        self.started.set()
        assert self.go.wait(PATIENCE_S)
        self.ended.set()
        return "done"


def quick(ticket: Ticket) -> str:
    """Work that takes no time."""
    return threading.current_thread().name


@asynchronous
async def test_work_runs_on_a_worker_thread_and_its_result_comes_back() -> None:
    with engine_of() as engine:
        assert (await engine.run(quick, 1, 10)).startswith("segment")
        await until(lambda: engine.admitted_megapixels == 0)


@asynchronous
async def test_what_the_work_raises_comes_back_and_its_place_is_free_again() -> None:
    def broken(ticket: Ticket) -> None:
        raise ValueError("broken")

    with engine_of() as engine:
        with pytest.raises(ValueError, match="broken"):
            await engine.run(broken, 1, 10)
        await until(lambda: engine.admitted_megapixels == 0)


@asynchronous
async def test_a_full_queue_refuses_at_once_says_when_to_come_again_and_takes_work_when_it_is_empty() -> None:
    held = Held()
    with engine_of(queue_megapixels=10) as engine:
        first = asyncio.create_task(engine.run(held, 6, 30))
        await until(held.started.is_set)
        second = asyncio.create_task(engine.run(quick, 4, 30))  # exactly full
        await until(lambda: engine.admitted_megapixels == 10)
        with pytest.raises(QueueFull) as caught:
            await engine.run(quick, 0.001, 30)
        assert caught.value.retry_after_s >= 1
        held.go.set()
        assert await first == "done"
        await second
        await until(lambda: engine.admitted_megapixels == 0)
        await engine.run(quick, 10, 30)


@asynchronous
async def test_work_heavier_than_the_queue_is_taken_when_it_is_alone() -> None:
    held = Held()
    with engine_of(queue_megapixels=1) as engine:
        heavy = asyncio.create_task(engine.run(held, 5, 30))
        await until(held.started.is_set)
        with pytest.raises(QueueFull):
            await engine.run(quick, 0.1, 30)
        held.go.set()
        assert await heavy == "done"


@asynchronous
async def test_images_at_work_hold_no_more_pixels_than_they_may_but_one_that_is_larger_runs_alone() -> None:
    small, large = Held(), Held()
    engine = Engine(3, 10, most_held_pixels=100)
    first = asyncio.create_task(engine.run(small, 1, 30, 60))
    await until(small.started.is_set)
    second = asyncio.create_task(engine.run(large, 1, 30, 200))
    third = asyncio.create_task(engine.run(lambda _: large.ended.is_set(), 1, 30, 1))
    await until(lambda: engine.admitted_megapixels == 3)
    assert not large.started.is_set()
    small.go.set()
    await until(large.started.is_set)
    large.go.set()
    await asyncio.gather(first, second)
    assert await third  # nothing passed it, or ran beside it
    engine.close()


@asynchronous
async def test_what_waits_for_room_is_passed_but_not_put_off() -> None:
    running, passing, waiting = Held(), Held(), Held()
    engine = Engine(3, 10, most_held_pixels=100)
    tasks = [asyncio.create_task(engine.run(running, 1, 30, 60))]
    await until(running.started.is_set)
    tasks.append(asyncio.create_task(engine.run(waiting, 1, 30, 70)))  # and a worker is left for others
    fits_now_alone = asyncio.create_task(engine.run(lambda _: waiting.started.is_set(), 1, 30, 40))
    tasks.append(asyncio.create_task(engine.run(passing, 1, 30, 30)))
    await until(passing.started.is_set)
    assert not waiting.started.is_set()
    running.go.set()
    await until(waiting.started.is_set)  # while what passed it still runs
    for work in (waiting, passing):
        work.go.set()
    assert await asyncio.gather(*tasks) == ["done"] * 3
    assert await fits_now_alone
    engine.close()


@asynchronous
async def test_work_that_waits_for_room_can_be_called_off() -> None:
    held, waiting = Held(), Held()
    engine = Engine(2, 10, most_held_pixels=100)
    running = asyncio.create_task(engine.run(held, 1, 30, 100))
    await until(held.started.is_set)
    with pytest.raises(DeadlineExceeded):
        await engine.run(waiting, 1, 0.1, 100)
    await until(lambda: engine.admitted_megapixels == 1)
    assert not waiting.started.is_set()
    held.go.set()
    await running
    engine.close()


@asynchronous
async def test_work_that_is_called_off_in_the_queue_holds_nothing_on_to() -> None:
    class Upload:
        pass

    def job(upload: Upload) -> Callable[[Ticket], None]:
        return lambda ticket: print(upload)

    held, upload = Held(), Upload()
    gone = weakref.ref(upload)
    with engine_of(workers=1) as engine:
        running = asyncio.create_task(engine.run(held, 0.01, 30))
        await until(held.started.is_set)
        with pytest.raises(DeadlineExceeded):
            await engine.run(job(upload), 0.01, 0.05)
        del upload
        await until(lambda: gone() is None)
        held.go.set()
        await running


@asynchronous
async def test_what_was_wrong_with_an_image_is_no_failure_of_the_service() -> None:
    def work(error: Exception) -> Callable[[Ticket], None]:
        def run(_: Ticket) -> None:
            raise error

        return run

    with engine_of() as engine:
        for error, fails in ((ValueError("broken"), False), (RunFailed("CUDA failure"), True)):
            with pytest.raises(type(error)):
                await engine.run(work(error), 1, 10)
            await until(lambda: engine.admitted_megapixels == 0)
            assert (engine.last_failure > 0) == fails


@asynchronous
async def test_at_the_deadline_the_caller_is_told_and_the_place_is_kept_until_the_worker_lets_go() -> None:
    held = Held()
    with engine_of(queue_megapixels=1) as engine:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.1 s"):
            await engine.run(held, 1, 0.1)
        assert engine.admitted_megapixels == 1
        with pytest.raises(QueueFull):
            await engine.run(quick, 1, 30)
        held.go.set()
        await until(lambda: engine.admitted_megapixels == 0)
        await engine.run(quick, 1, 30)


@asynchronous
async def test_work_whose_time_is_over_before_its_turn_never_starts() -> None:
    held, late = Held(), Held()
    with engine_of(workers=1) as engine:
        first = asyncio.create_task(engine.run(held, 0.01, 30))  # of so little nothing is late by what it expects
        await until(held.started.is_set)
        with pytest.raises(DeadlineExceeded):
            await engine.run(late, 0.01, 0.05)
        await until(lambda: engine.admitted_megapixels == 0.01)  # its place is free while the first still runs
        held.go.set()
        assert await first == "done"
    assert not late.started.is_set()


@asynchronous
async def test_work_is_told_that_nobody_waits_for_it_any_more() -> None:
    told = threading.Event()

    def checking(ticket: Ticket) -> None:
        while True:
            try:
                ticket.cancellation.check()
            except Cancelled:
                told.set()
                raise

    with engine_of() as engine:
        waiting = asyncio.create_task(engine.run(checking, 1, 30))
        await until(lambda: engine.admitted_megapixels == 1)
        waiting.cancel()
        await until(told.is_set)
        await until(lambda: engine.admitted_megapixels == 0)


@asynchronous
async def test_a_ticket_knows_how_long_it_waited() -> None:
    held = Held()
    with engine_of(workers=1) as engine:
        first = asyncio.create_task(engine.run(held, 1, 30))
        await until(held.started.is_set)
        second = asyncio.create_task(engine.run(lambda ticket: ticket.queued_ms, 1, 30))
        await until(lambda: engine.admitted_megapixels == 2)
        await asyncio.sleep(0.05)
        held.go.set()
        await first
        assert await second >= 50


@asynchronous
async def test_sums_of_odd_fractions_leave_no_rest_behind() -> None:
    with engine_of(workers=4, queue_megapixels=1000) as engine:
        await asyncio.gather(*(engine.run(quick, 0.1 * number, 30) for number in range(1, 50)))
        await until(lambda: engine.admitted_megapixels == 0)


@asynchronous
async def test_what_would_wait_longer_than_its_deadline_is_refused() -> None:
    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        for _ in range(60):  # until it knows what this machine does in a second
            await engine.run(lambda _: time.sleep(0.01), 0.01, 30)  # 1 megapixel a second at most
        first = asyncio.create_task(engine.run(held, 100, 30))  # the only one: nobody waits
        await until(held.started.is_set)
        with pytest.raises(QueueFull):  # what is at work is not done yet
            await engine.run(quick, 0.01, 30)
        second = asyncio.create_task(engine.run(quick, 20, 1000))
        await until(lambda: engine.admitted_megapixels == 120)
        with pytest.raises(QueueFull):
            await engine.run(quick, 0.01, 10)
        third = asyncio.create_task(engine.run(quick, 0.01, 1000))
        held.go.set()
        await asyncio.gather(first, second, third)


@asynchronous
async def test_the_first_work_shows_how_fast_work_is() -> None:
    held = Held()
    with engine_of() as engine:
        await engine.run(lambda _: time.sleep(0.5), 0.1, 60)  # a fifth of a megapixel a second, or less
        running = asyncio.create_task(engine.run(held, 0.1, 60))
        await until(held.started.is_set)
        waiting = asyncio.create_task(engine.run(quick, 0.1, 60))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await engine.run(quick, 0.1, 0.5)
        held.go.set()
        await asyncio.gather(running, waiting)


@asynchronous
async def test_while_a_worker_is_free_nothing_is_too_late() -> None:
    held = Held()
    with engine_of(workers=2, queue_megapixels=1000) as engine:
        await engine.run(lambda _: time.sleep(0.5), 0.1, 60)
        running = asyncio.create_task(engine.run(held, 100, 1000))
        await until(held.started.is_set)
        await engine.run(quick, 0.1, 5)
        held.go.set()
        await running


@asynchronous
async def test_all_that_is_accepted_can_be_given_up() -> None:
    def endless(ticket: Ticket) -> None:
        while True:
            ticket.cancellation.check()
            time.sleep(0.001)

    with engine_of() as engine:
        running = [asyncio.create_task(engine.run(endless, 1, 30)) for _ in range(3)]
        await until(lambda: engine.admitted_megapixels == 3)
        engine.give_up()
        ended = await asyncio.gather(*running, return_exceptions=True)
        assert [type(error) for error in ended] == [Cancelled] * 3
        await until(lambda: engine.admitted_megapixels == 0)


@asynchronous
async def test_what_waits_when_all_is_given_up_ends_at_once_though_a_worker_hangs() -> None:
    held = Held()
    with engine_of() as engine:
        running = asyncio.create_task(engine.run(held, 1, 30))
        await until(held.started.is_set)
        waiting = asyncio.create_task(engine.run(quick, 1, 30))
        await until(lambda: engine.admitted_megapixels == 2)
        engine.give_up()
        with pytest.raises(Cancelled):
            await waiting
        assert not running.done()
        held.go.set()
        await running


@asynchronous
async def test_a_closed_engine_takes_nothing() -> None:
    with engine_of() as engine:
        await engine.run(quick, 1, 30)
        assert engine.close()
        with pytest.raises(Cancelled):
            await engine.run(quick, 1, 30)
        assert engine.close()


@asynchronous
async def test_where_no_thread_can_be_started_work_is_refused_until_one_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with engine_of(workers=2) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            with pytest.raises(MemoryError, match="can't start new thread"):
                await engine.run(quick, 1, 30)
            assert engine.admitted_megapixels == 0
        await engine.run(quick, 1, 30)
        held = Held()
        running = asyncio.create_task(engine.run(held, 1, 30))
        await until(held.started.is_set)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            waiting = asyncio.create_task(engine.run(quick, 1, 30))  # for the one worker that there is
            await until(lambda: engine.admitted_megapixels == 2)
        held.go.set()
        await asyncio.gather(running, waiting)


@asynchronous
async def test_a_time_out_of_the_works_own_is_no_deadline() -> None:
    def late(_: Ticket) -> None:
        raise TimeoutError("of its own")

    with engine_of() as engine:
        with pytest.raises(TimeoutError, match="of its own") as caught:
            await engine.run(late, 1, 30)
        assert not isinstance(caught.value, DeadlineExceeded)


def test_what_is_called_off_never_begins_to_run() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled), cancellation.run_options():
        raise AssertionError("began to run")


def test_a_failure_after_calling_off_is_the_calling_off() -> None:
    cancellation = Cancellation()
    with pytest.raises(Cancelled), cancellation.run_options():
        cancellation.cancel()
        raise RuntimeError("Exiting due to terminate flag")


def test_any_other_failure_is_told_as_such() -> None:
    with pytest.raises(RunFailed, match=r"^wrong shape$"), Cancellation().run_options():
        raise RuntimeError("wrong shape\nstack")


@pytest.mark.parametrize(("workers", "expected"), [(1, [True]), (2, [True, False]), (5, [True, True, False, False, False])])
@asynchronous
async def test_work_has_all_cores_while_there_is_half_as_much_as_cores(workers: int, expected: list[bool]) -> None:
    with engine_of(workers=workers) as engine:
        held = [Held() for _ in range(workers)]
        has_all_cores: list[bool] = []

        def noting(work: Held) -> Callable[[Ticket], str]:
            def run(ticket: Ticket) -> str:
                has_all_cores.append(ticket.has_all_cores)
                return work(ticket)

            return run

        running = []
        for work in held:
            running.append(asyncio.ensure_future(engine.run(noting(work), 1, PATIENCE_S)))
            await until(work.started.is_set)
        for work in held:
            work.go.set()
        await asyncio.gather(*running)
        await engine.run(noting(held[0]), 1, PATIENCE_S)
    assert has_all_cores == [*expected, True]


async def at_a_megapixel_a_second(engine: Engine) -> None:
    """Let it measure that each worker does about that, and no more."""
    for _ in range(30):
        await engine.run(lambda _: time.sleep(0.01), 0.01, 30)


@asynchronous
async def test_one_long_piece_of_work_delays_nobody_who_waits_for_another_worker() -> None:
    long, short = Held(), Held()
    with engine_of(workers=2, queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        first = asyncio.create_task(engine.run(long, 100, 300))
        await until(long.started.is_set)
        second = asyncio.create_task(engine.run(short, 0.1, 300))
        await until(short.started.is_set)
        third = asyncio.create_task(engine.run(quick, 0.1, 10))  # a second's tenth behind the second, 100 s behind the first
        await asyncio.sleep(0)
        short.go.set()
        await third
        long.go.set()
        await asyncio.gather(first, second)


@asynchronous
async def test_when_to_come_again_is_computed_from_what_has_to_end_first() -> None:
    held = Held()
    with engine_of(queue_megapixels=60) as engine:
        await at_a_megapixel_a_second(engine)
        running = asyncio.create_task(engine.run(held, 20, 1000))
        await until(held.started.is_set)
        waiting = asyncio.create_task(engine.run(quick, 40, 1000))
        await until(lambda: engine.admitted_megapixels == 60)
        retries = []
        for megapixels, deadline in ((15, 1000), (25, 1000), (0, 50)):
            with pytest.raises(QueueFull) as refused:
                await engine.run(quick, megapixels, deadline)
            retries.append(refused.value.retry_after_s)
        soon, when_all_is_done, when_it_would_be_in_time = retries
        assert soon >= 19  # 20 megapixels have to end, of 60
        assert when_all_is_done == pytest.approx(3 * soon, rel=0.2)
        assert when_it_would_be_in_time == pytest.approx(when_all_is_done - 40, abs=2)  # 0.8 of its 50 s
        held.go.set()
        await asyncio.gather(running, waiting)
