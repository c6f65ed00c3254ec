"""The service as a process of its own, for tests and benchmarks that need the real thing."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"


@dataclass(frozen=True)
class Server:
    """`python -m service` in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]


def start_server(
    quiet: bool = False,
    command: Sequence[str] = ("-m", "service"),
    patience: float = 60,
    awaited: str = "/readyz",
    log: str = os.devnull,
    **settings: str,
) -> Server:
    """Start the service on a free port with `SEGMENT_` settings by name, and wait `patience` seconds until it is ready.

    `command` is what Python is given to run; it may do other work first. `awaited`: what has to answer 200. `log`: the file
    that takes what a quiet one writes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"SEGMENT_PORT": str(port)} | {f"SEGMENT_{name}": value for name, value in settings.items()}
    with Path(log).open("wb") as sink:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stderr=sink if quiet else None)
    server = Server(f"http://127.0.0.1:{port}", process)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the service ended with status {process.returncode}"
        try:
            if httpx.get(server.url + awaited, timeout=5).is_success:
                return server
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the service was not ready within {patience:g} s")


def stop_server(server: Server) -> int:
    """SIGTERM, and the exit status."""
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(timeout=60)
