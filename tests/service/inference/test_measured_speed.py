"""How fast work is, as an engine measures it, and what it therefore expects; without HTTP."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.inference.scheduling.engine import DeadlineExceeded, Engine, QueueFull
from service.inference.scheduling.workers import SMALL_EFFORT, Ticket
from tests.service.helpers.engines import Held, asynchronous, at_a_megapixel_a_second, at_work, engine_of, quick, until


def wait_for_cancellation(ticket: Ticket) -> None:
    """Work without an end of its own."""
    while True:
        ticket.cancellation.check()
        time.sleep(0.005)


@asynccontextmanager
async def busy(engine: Engine, megapixels: float) -> AsyncIterator[None]:
    """While such work is at work, and as much waits for it."""
    held = Held()
    running = await at_work(engine, held, megapixels, 60)
    waiting = asyncio.create_task(engine.run(quick, megapixels, 60))
    await asyncio.sleep(0)
    yield
    held.go.set()
    await asyncio.gather(running, waiting)


@asynchronous
async def test_the_first_work_shows_how_fast_work_is() -> None:
    with engine_of() as engine:
        await engine.run(lambda _: time.sleep(0.5), 0.1, 60)  # a fifth of a megapixel a second, or less
        async with busy(engine, 0.1):
            with pytest.raises(QueueFull):
                await engine.run(quick, 0.1, 0.5)


@asynchronous
async def test_each_kind_of_work_is_expected_to_take_what_its_own_kind_takes() -> None:
    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        for _ in range(5):
            await engine.run(lambda _: time.sleep(0.01), 1, 30, kind="quick")  # at most 100 megapixels a second
        running = asyncio.create_task(engine.run(held, 10, 300, kind="quick"))
        await until(held.started.is_set)
        waiting = asyncio.create_task(engine.run(quick, 20, 300, kind="quick"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await engine.run(quick, 20, 20)  # 20 seconds of 16
        last = asyncio.create_task(engine.run(quick, 20, 20, kind="quick"))
        held.go.set()
        assert all(await asyncio.gather(running, waiting, last))  # the last was not refused


@asynchronous
async def test_small_work_does_not_make_other_work_of_its_kind_look_slow() -> None:
    """It takes most of its time for what other work takes just as long for."""
    with engine_of(queue_megapixels=1000) as engine:
        await engine.run(lambda _: time.sleep(SMALL_EFFORT), 0.001, 30)  # counted as a megapixel a second, or less
        async with busy(engine, 40):  # at the speed of the small work, what waits would miss its deadline, and be refused
            with pytest.raises(QueueFull):
                await engine.run(quick, 0.01, 0.5)


@asynchronous
async def test_the_smallest_work_does_not_make_other_small_work_look_slow() -> None:
    """Both take most of their time for the same."""
    with engine_of(queue_megapixels=1000) as engine:
        for _ in range(20):
            await engine.run(lambda _: time.sleep(0.01), 1e-6, 30)
        async with busy(engine, 0.04):  # if time went with pixels, each of them would be expected to take 400 s
            assert engine.admitted_megapixels == pytest.approx(0.08)  # neither was refused


@asynchronous
async def test_what_loading_took_does_not_count_as_slow_work() -> None:
    def load_first(ticket: Ticket) -> None:
        time.sleep(0.5)
        ticket.loading_s = 0.5

    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        await engine.run(load_first, 1, 30)
        running = await at_work(engine, held, 1, 30)
        waiting = asyncio.create_task(engine.run(quick, 1, 0.8))  # with loading, the two would be expected to take a second
        await asyncio.sleep(0)
        held.go.set()
        assert all(await asyncio.gather(running, waiting))  # neither was refused


@asynchronous
async def test_what_has_not_ended_within_its_deadline_shows_how_slow_its_kind_is() -> None:
    held = Held()
    with engine_of(queue_megapixels=1000) as engine:
        with pytest.raises(DeadlineExceeded):
            await engine.run(wait_for_cancellation, 1, 0.5, expected_speed=100)
        await until(lambda: engine.admitted_megapixels == 0)
        running = await at_work(engine, held, 1, 300)
        with pytest.raises(QueueFull):  # half a second, or more, for each megapixel: of 4 in all, 1.6 may pass
            await engine.run(quick, 3, 2)
        held.go.set()
        await running


@asynchronous
async def test_what_is_cancelled_at_once_does_not_look_quick() -> None:
    held, started = Held(), threading.Event()

    def endless(ticket: Ticket) -> None:
        started.set()
        wait_for_cancellation(ticket)

    with engine_of(queue_megapixels=1000) as engine:
        await at_a_megapixel_a_second(engine)
        cancelled = asyncio.create_task(engine.run(endless, 100, 300))
        await until(started.is_set)
        cancelled.cancel()
        await until(lambda: engine.admitted_megapixels == 0)
        running = await at_work(engine, held, 100, 300)
        with pytest.raises(QueueFull):  # 100 seconds behind it
            await engine.run(quick, 1, 30)
        held.go.set()
        await running
