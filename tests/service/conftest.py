"""Applications around the red, green and blue model, each with settings of its own."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from service.app import create_app
from service.http import connections, segment
from service.inference.sessions import runner
from service.inference.sessions.cancellation import Cancellation
from service.inference.tiling import plan
from service.settings import Settings
from tests.service.helpers.live import Gate, colors_app, serving
from tests.service.helpers.slow_clients import SHORT_S
from tests.service.helpers.tiny_models import write_model

MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def colors_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the one model, which is also the default model; not to be written to."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder)
    return folder


@pytest.fixture(scope="session")
def make_client(colors_folder: Path) -> Iterator[MakeClient]:
    """Make a client of a new application with the settings given, on the one model unless they say otherwise."""
    with ExitStack() as stack:

        def make(**settings: object) -> TestClient:
            chosen = {"models_dir": colors_folder, "default_model": "colors"} | settings
            return stack.enter_context(TestClient(create_app(Settings.model_validate(chosen)), raise_server_exceptions=False))

        yield make


@pytest.fixture(scope="session")
def colors(make_client: MakeClient) -> TestClient:
    """A client of the one model under default settings."""
    return make_client()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What runners run from now on of small images: the size of each batch, and the height and width of its images.

    Large ones are of the shipped models, which other applications of the tests have; so are those of watchdogs.
    """
    shapes: list[tuple[int, int, int]] = []
    run = runner.Runner.__call__

    def noting(
        one: runner.Runner,
        images: Sequence[NDArray[np.uint8]],
        cancellation: Cancellation,
        size: int = 1,
        release_memory: bool = False,
    ) -> NDArray[np.float32]:
        _, height, width, _ = images[0].shape
        if max(height, width) <= 144 and threading.current_thread().name != "trial":
            shapes.append((size, height, width))
        return run(one, images, cancellation, size, release_memory)

    monkeypatch.setattr(runner.Runner, "__call__", noting)
    return shapes


@pytest.fixture
def says_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of the CPU say that they are on a GPU."""
    monkeypatch.setattr(runner, "reported_device", lambda session: "cuda")


@pytest.fixture(scope="module")
def address(colors_folder: Path) -> Iterator[tuple[str, int]]:
    """The application behind the server that `python -m service` starts."""
    with serving(colors_app(colors_folder)) as address:
        yield address


@pytest.fixture
def impatient_with_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of requests have little time."""
    monkeypatch.setattr(connections, "HEAD_S", SHORT_S)


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs so small that photos of a megapixel are cut into tiles."""
    monkeypatch.setitem(plan.RUN_BYTES, "cpu", 24 << 20)
    monkeypatch.setattr(plan, "SURELY_WHOLE_PIXELS", 0)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Every request waits at it until it is open."""
    gate = Gate()
    monkeypatch.setattr(segment, "process", gate)
    yield gate
    gate.open.set()
