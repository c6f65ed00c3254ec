"""Applications around the red, green and blue model, each with settings of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.inference import runner
from service.settings import Settings
from tests.service.tiny_models import write_model

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
def says_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of the CPU say that they are on a GPU."""
    monkeypatch.setattr(runner, "reported_device", lambda session: "cuda")
