"""What many tests need: the shipped model behind a test client, and behind a real server."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    """The application with its default settings and the shipped models, in this process."""
    from service.app import create_app
    from service.settings import Settings

    with TestClient(create_app(Settings(models_dir=MODELS)), raise_server_exceptions=False) as client:
        yield client


@dataclass(frozen=True)
class Server:
    """`python -m service` in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]


def start_server(**settings: str) -> Server:
    """Start the service on a free port with `SEGMENT_` settings by name, and wait until it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"SEGMENT_PORT": str(port)} | {f"SEGMENT_{name}": value for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environment)
    server = Server(f"http://127.0.0.1:{port}", process)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the service ended with status {process.returncode}"
        try:
            if httpx.get(server.url + "/readyz", timeout=5).is_success:
                return server
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError("the service was not ready within 60 s")


def stop_server(server: Server) -> int:
    """SIGTERM, and the exit status."""
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(timeout=60)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The service as `make serve` starts it, on another port."""
    server = start_server()
    yield server
    stop_server(server)
