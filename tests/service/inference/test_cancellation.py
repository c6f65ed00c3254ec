"""Deadlines, and work that is cancelled: it ends, and its place is given back; without HTTP."""

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from service.inference.scheduling.engine import DeadlineExceeded, Engine, QueueFull
from service.inference.scheduling.workers import Ticket
from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.inference.sessions.errors import RunFailed
from tests.bands import loaded
from tests.service.helpers.engines import Held, asynchronous, at_work, engine_of, quick, until
from tests.service_process import MODELS


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
        assert not engine.has_hung(0)  # though the first's worker has not come to it
        held.go.set()
        assert await first == "done"
    assert not late.started.is_set()


@asynchronous
async def test_overdue_work_of_a_process_that_was_frozen_has_not_hung_before_it_could_be_cancelled() -> None:
    held = Held()
    with engine_of() as engine:
        running = asyncio.create_task(engine.run(held, 1, 0.1))
        await until(held.started.is_set)
        time.sleep(0.3)  # the loop is stopped for so long
        assert not engine.has_hung(0.1)
        with pytest.raises(DeadlineExceeded):
            await running
        assert not engine.has_hung(0.1)
        await until(partial(engine.has_hung, 0.1))
        held.go.set()


@asynchronous
async def test_a_time_out_of_the_works_own_is_no_deadline() -> None:
    def late(_: Ticket) -> None:
        raise TimeoutError("of its own")

    with engine_of() as engine:
        with pytest.raises(TimeoutError, match="of its own") as caught:
            await engine.run(late, 1, 30)
        assert not isinstance(caught.value, DeadlineExceeded)


@asynchronous
async def test_work_that_waits_for_room_can_be_cancelled() -> None:
    held, waiting = Held(), Held()
    engine = Engine(2, 10, most_held_pixels=100)
    running = await at_work(engine, held, 1, 30, 100)
    with pytest.raises(DeadlineExceeded):
        await engine.run(waiting, 1, 0.1, 100)
    await until(lambda: engine.admitted_megapixels == 1)
    assert not waiting.started.is_set()
    held.go.set()
    await running
    engine.close()


@asynchronous
async def test_work_that_is_cancelled_in_the_queue_holds_nothing_on_to() -> None:
    class Upload:
        pass

    def job(upload: Upload) -> Callable[[Ticket], None]:
        return lambda ticket: print(upload)

    held, upload = Held(), Upload()
    gone = weakref.ref(upload)
    with engine_of(workers=1) as engine:
        running = await at_work(engine, held, 0.01, 30)
        with pytest.raises(DeadlineExceeded):
            await engine.run(job(upload), 0.01, 0.05)
        del upload
        await until(lambda: gone() is None)
        held.go.set()
        await running


@asynchronous
async def test_work_is_told_that_nobody_waits_for_it_any_more() -> None:
    started, told = threading.Event(), threading.Event()

    def checking(ticket: Ticket) -> None:
        started.set()
        while True:
            try:
                ticket.cancellation.check()
            except Cancelled:
                told.set()
                raise

    with engine_of() as engine:
        waiting = asyncio.create_task(engine.run(checking, 1, 30))
        await until(started.is_set)  # what has not begun is only left out
        waiting.cancel()
        await until(told.is_set)
        await until(lambda: engine.admitted_megapixels == 0)


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
        running = await at_work(engine, held, 1, 30)
        waiting = asyncio.create_task(engine.run(quick, 1, 30))
        await until(lambda: engine.admitted_megapixels == 2)
        engine.give_up()
        with pytest.raises(Cancelled):
            await waiting
        assert not running.done()
        held.go.set()
        await running


def test_what_is_cancelled_never_begins_to_run() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled), cancellation.run_options():
        raise AssertionError("began to run")


def test_a_failure_after_a_cancellation_is_the_cancellation() -> None:
    cancellation = Cancellation()
    with pytest.raises(Cancelled), cancellation.run_options():
        cancellation.cancel()
        raise RuntimeError("Exiting due to terminate flag")


def test_any_other_failure_is_told_as_such() -> None:
    with pytest.raises(RunFailed, match=r"^wrong shape$"), Cancellation().run_options():
        raise RuntimeError("wrong shape\nstack")


def test_cancelling_stops_onnx_runtime_in_the_middle_of_a_run() -> None:
    one = loaded(MODELS / "animals-fcn8s-lite2.onnx")
    image = np.zeros((1, 1536, 2048, 3), np.uint8)
    start = time.perf_counter()
    one.run(image, Cancellation())
    whole = time.perf_counter() - start
    cancellation = Cancellation()
    timer = threading.Timer(whole / 8, cancellation.cancel)
    timer.start()
    with pytest.raises(Cancelled) as cancelled:
        one.run(image, cancellation)
    assert "terminate" in str(cancelled.value.__context__)  # ONNX Runtime's own error, not our check before the run
