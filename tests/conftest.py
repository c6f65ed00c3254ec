"""What many tests need: the shipped model behind a test client, and behind a real server."""

import os
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import settings

from tests.docker_engine import Engine, started_engine
from tests.service_process import MODELS, Server, start_server, stop_server

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before any test imports onnxruntime
settings.register_profile("suite", deadline=None, derandomize=True)  # the same on every machine, however busy
settings.load_profile("suite")


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    """The application with its default settings and the shipped models, in this process."""
    from service.app import create_app
    from service.settings import Settings

    with TestClient(create_app(Settings(models_dir=MODELS)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The service as `make serve` starts it, on another port."""
    server = start_server(log=None)
    yield server
    stop_server(server)


@pytest.fixture(scope="session", autouse=True)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine | None]:
    """The engine for the container's tests, which starts beside the tests before them; None if no test needs it."""
    if not any("docker" in getattr(test, "fixturenames", ()) for test in request.session.items):
        yield None
        return
    with started_engine(tmp_path_factory.mktemp("engine") / "log") as engine:
        yield engine
