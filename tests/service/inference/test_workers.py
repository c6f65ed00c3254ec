"""Work on an engine's threads: in which order, with how much beside it, and how it ends; without HTTP."""

import asyncio
from collections.abc import Callable

import pytest

from service.inference.scheduling.engine import Engine
from service.inference.scheduling.workers import Ticket
from service.inference.sessions.errors import RunFailed
from tests.service.helpers.engines import PATIENCE_S, Held, asynchronous, at_work, engine_of, quick, until


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
async def test_images_at_work_hold_no_more_pixels_than_they_may_but_one_that_is_larger_runs_alone() -> None:
    small, large = Held(), Held()
    engine = Engine(3, 10, most_held_pixels=100)
    first = await at_work(engine, small, 1, 30, 60)
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
    engine = Engine(4, 10, most_held_pixels=100)
    tasks = [asyncio.create_task(engine.run(running, 1, 30, 60))]
    await until(running.started.is_set)
    tasks.append(asyncio.create_task(engine.run(waiting, 1, 30, 70)))  # and workers are left for others
    fits_now_alone = asyncio.create_task(engine.run(lambda _: waiting.started.is_set(), 1, 30, 40))
    tasks.append(asyncio.create_task(engine.run(passing, 1, 30, 30)))
    one_too_many = asyncio.create_task(engine.run(lambda _: waiting.started.is_set(), 1, 30, 10))
    await until(passing.started.is_set)
    assert not waiting.started.is_set()
    running.go.set()
    await until(waiting.started.is_set)  # while what passed it still runs
    for work in (waiting, passing):
        work.go.set()
    assert await asyncio.gather(*tasks) == ["done"] * 3
    assert await fits_now_alone
    assert await one_too_many  # beside what passed it already, and what waits, it has no room
    engine.close()


@asynchronous
async def test_room_that_one_image_leaves_is_taken_by_all_that_fit_into_it() -> None:
    large, smaller = Held(), (Held(), Held(), Held())
    engine = Engine(4, 10, most_held_pixels=100)
    running = [await at_work(engine, large, 1, 30, 100)]
    running += [asyncio.create_task(engine.run(work, 1, 30, 33)) for work in smaller]
    await until(lambda: engine.admitted_megapixels == 4)
    large.go.set()
    await until(lambda: all(work.started.is_set() for work in smaller))
    for work in smaller:
        work.go.set()
    await asyncio.gather(*running)
    engine.close()


@asynchronous
async def test_a_ticket_knows_how_long_it_waited() -> None:
    held = Held()
    with engine_of(workers=1) as engine:
        first = await at_work(engine, held, 1, 30)
        second = asyncio.create_task(engine.run(lambda ticket: ticket.queued_ms, 1, 30))
        await until(lambda: engine.admitted_megapixels == 2)
        await asyncio.sleep(0.05)
        held.go.set()
        await first
        assert await second >= 50


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
