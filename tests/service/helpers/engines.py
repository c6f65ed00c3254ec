"""Engines without HTTP, and work for them that takes as long as a test wants."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

from service.inference.scheduling.engine import Engine
from service.inference.scheduling.workers import SMALL_EFFORT, Ticket

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
    engine = Engine(workers, queue_megapixels, math.inf)
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


async def at_work(engine: Engine, work: Held, megapixels: float, deadline_s: float, held_pixels: int = 0) -> asyncio.Task[str]:
    """Work that has begun, and goes on until it may end."""
    task = asyncio.create_task(engine.run(work, megapixels, deadline_s, held_pixels))
    await until(work.started.is_set)
    return task


def quick(ticket: Ticket) -> str:
    """Work that takes no time; the name of its thread."""
    return threading.current_thread().name


async def at_a_megapixel_a_second(engine: Engine) -> None:
    """Let it measure that each worker does about that, and no more."""
    for _ in range(6):
        await engine.run(lambda _: time.sleep(SMALL_EFFORT), SMALL_EFFORT, 30)
