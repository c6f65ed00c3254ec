"""An upload's image is freed with its request, however that ends: a WebP's decoder holds more memory than its pixels."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL.WebPImagePlugin import WebPImageFile

from service.app import create_app
from service.http import segment
from service.inference.scheduling.workers import Ticket
from service.inference.sessions.errors import RunFailed
from service.pipeline import Job
from service.results.renderings import Rendered
from service.settings import Settings
from tests.service.helpers.answers import admitted, assert_problem, post
from tests.service.helpers.live import Gate, serving
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.waiting import wait_until

IMAGE = encoded(flag(), "WEBP")


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Only what nothing refers to is freed, as in the minutes between two collections."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@contextmanager
def client_of(models: Path, deadline_s: float = 30, queue_megapixels: float = 64) -> Iterator[httpx.Client]:
    """A client of a server of its own, in this process."""
    limits = {"deadline_s": deadline_s, "deadline_s_per_megapixel": 0, "queue_megapixels": queue_megapixels}
    settings = Settings.model_validate({"models_dir": models, "default_model": "colors", "reload_s": 0} | limits)
    with serving(create_app(settings)) as (host, port), httpx.Client(base_url=f"http://{host}:{port}", timeout=60) as client:
        yield client


def images() -> int:
    """How many images of WebPs are in memory."""
    return sum(type(one) is WebPImageFile for one in gc.get_objects())


def test_work_that_ends_after_its_deadline_frees_its_image(colors_folder: Path, gate: Gate) -> None:
    with client_of(colors_folder, deadline_s=0.1) as client:
        assert_problem(post(client, IMAGE), 504, limit=0.1)
        assert images() == 1  # it is at work
        gate.came.clear()
        gate.open.set()
        wait_until(lambda: admitted(client) == 0)
        wait_until(lambda: images() == 0)


def test_work_that_never_starts_frees_its_image(colors_folder: Path, gate: Gate) -> None:
    with client_of(colors_folder, deadline_s=0.3, queue_megapixels=0.02) as client:
        with ThreadPoolExecutor() as pool:
            answers = [future.result() for future in [pool.submit(post, client, IMAGE) for _ in range(8)]]
        assert {answer.status_code for answer in answers} == {429, 504}
        wait_until(lambda: images() == len(gate.came))  # of those that wait at the gate


def test_an_image_that_is_answered_is_freed(colors_folder: Path) -> None:
    with client_of(colors_folder) as client:
        assert post(client, IMAGE).status_code == 200
        wait_until(lambda: images() == 0)


def test_work_that_fails_frees_its_image(colors_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: Job, ticket: Ticket) -> tuple[object, Rendered]:
        raise RunFailed(f"{job.format} at {ticket.started}")

    monkeypatch.setattr(segment, "process", fail)
    with client_of(colors_folder) as client:
        assert_problem(post(client, IMAGE), 503)
        wait_until(lambda: images() == 0)
