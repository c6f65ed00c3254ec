"""What an engine takes, what it refuses at once, and when it says to come again; without HTTP."""

import asyncio
import threading
import time
from contextlib import suppress

import pytest

from service.inference.scheduling.engine import DeadlineExceeded, QueueFull
from service.inference.sessions.cancellation import Cancelled
from tests.service.helpers.engines import Held, asynchronous, at_a_megapixel_a_second, at_work, engine_of, quick, until


@asynchronous
async def test_a_full_queue_refuses_at_once_says_when_to_come_again_and_takes_work_when_it_is_empty() -> None:
    held = Held()
    with engine_of(queue_megapixels=10) as engine:
        first = await at_work(engine, held, 6, 30)
        second = asyncio.create_task(engine.run(quick, 4, 30))  # exactly full
        await until(lambda: engine.admitted_megapixels == 10)
        with pytest.raises(QueueFull) as caught:
            await engine.run(quick, 0.001, 30)
        assert caught.value.retry_after_s >= 1
        held.go.set()
        assert await first == "done"
        await second
        await until(lambda: engine.admitted_megapixels == 0)
        assert await engine.run(quick, 10, 30)


@asynchronous
async def test_work_heavier_than_the_queue_is_taken_when_it_is_alone() -> None:
    held = Held()
    with engine_of(queue_megapixels=1) as engine:
        heavy = await at_work(engine, held, 5, 30)
        with pytest.raises(QueueFull):
            await engine.run(quick, 0.1, 30)
        held.go.set()
        assert await heavy == "done"


@asynchronous
async def test_sums_of_odd_fractions_leave_no_rest_behind() -> None:
    with engine_of(workers=4, queue_megapixels=1000) as engine:
        await asyncio.gather(*(engine.run(quick, 0.1 * number, 30) for number in range(1, 50)))
        assert engine.admitted_megapixels == 0


@asynchronous
async def test_what_would_wait_longer_than_its_deadline_is_refused() -> None:
    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
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
        assert all(await asyncio.gather(first, second, third))


@asynchronous
async def test_what_is_at_work_is_expected_to_end_after_what_is_left_of_its_time() -> None:
    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        running = await at_work(engine, held, 0.5, 300)
        with pytest.raises(DeadlineExceeded):  # no longer QueueFull: it was taken, and waited
            while True:
                with suppress(QueueFull):
                    await engine.run(quick, 0.01, 0.2)
                await asyncio.sleep(0.01)
        held.go.set()
        assert await running == "done"


@asynchronous
async def test_what_is_at_work_is_expected_to_end_at_its_deadline_at_the_latest() -> None:
    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        running = await at_work(engine, held, 100, 10)  # for 100 seconds, if it had the time
        waiting = asyncio.create_task(engine.run(quick, 0.01, 30))
        await asyncio.sleep(0)
        held.go.set()
        assert all(await asyncio.gather(running, waiting))  # neither was refused


@asynchronous
async def test_the_pixels_that_were_sent_take_time_beside_those_that_the_network_sees() -> None:
    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        running = await at_work(engine, held, 0.01, 300, held_pixels=10**9)  # as much as 100 megapixels
        with pytest.raises(QueueFull):
            await engine.run(quick, 0.01, 30)
        held.go.set()
        assert await running == "done"


@asynchronous
async def test_while_a_worker_is_free_nothing_is_too_late() -> None:
    held = Held()
    with engine_of(workers=2, queue_megapixels=1000) as engine:
        await engine.run(lambda _: time.sleep(0.5), 0.1, 60)
        running = await at_work(engine, held, 100, 1000)
        assert await engine.run(quick, 0.1, 5)
        held.go.set()
        assert await running == "done"


@asynchronous
async def test_one_long_piece_of_work_delays_nobody_who_waits_for_another_worker() -> None:
    long, short = Held(), Held()
    with engine_of(workers=2, queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        first = await at_work(engine, long, 100, 300)
        second = await at_work(engine, short, 0.1, 300)
        third = asyncio.create_task(engine.run(quick, 0.1, 10))  # a second's tenth behind the second, 100 s behind the first
        await asyncio.sleep(0)
        short.go.set()
        assert await third
        long.go.set()
        assert all(await asyncio.gather(first, second))


@asynchronous
async def test_when_all_workers_are_busy_work_is_expected_to_have_one_of_them() -> None:
    works = [Held(), Held()]
    with engine_of(workers=2, queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        running = [await at_work(engine, work, 1, 300) for work in works]
        with pytest.raises(QueueFull):  # of a megapixel a second it gets half: it would end after 32 seconds
            await engine.run(quick, 15, 30)
        for work in works:
            work.go.set()
        assert await asyncio.gather(*running) == ["done", "done"]


@asynchronous
async def test_when_to_come_again_is_computed_from_what_has_to_end_first() -> None:
    held = Held()
    with engine_of(queue_megapixels=60) as engine:
        await at_a_megapixel_a_second(engine)
        running = await at_work(engine, held, 20, 1000)
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
        running = await at_work(engine, held, 1, 30)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            waiting = asyncio.create_task(engine.run(quick, 1, 30))  # for the one worker that there is
            await until(lambda: engine.admitted_megapixels == 2)
        held.go.set()
        assert all(await asyncio.gather(running, waiting))
