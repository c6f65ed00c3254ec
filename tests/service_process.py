"""The service as a process of its own, for tests and benchmarks that need the real thing."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"


@dataclass(frozen=True)
class Server:
    """`python -m service`, or another server, in a process of its own; `with` stops it."""

    url: str
    process: subprocess.Popen[bytes]

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        stop_server(self)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def start_server(
    command: Sequence[str] = ("-m", "service"),
    patience: float = 60,
    python: str | Path = sys.executable,
    ready: str = "/readyz",
    log: str | None = os.devnull,
    **settings: str,
) -> Server:
    """Start the service on a free port with `SEGMENT_` settings by name, and wait `patience` seconds until it is ready.

    `command` is what `python` is given to run, `{port}` in it the port; it may do other work first. `ready` is the path that
    is answered with success once it is. `log`: the file that takes what it writes; null: written here.
    """
    port = free_port()
    environment = os.environ | {"SEGMENT_PORT": str(port)} | {f"SEGMENT_{name}": value for name, value in settings.items()}
    told = [part.replace("{port}", str(port)) for part in command]
    with Path(log).open("wb") if log else nullcontext() as output:
        process = subprocess.Popen([python, *told], cwd=ROOT, env=environment, stdout=output, stderr=output)
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            assert process.poll() is None, f"{told} ended with status {process.returncode}"
            try:
                if httpx.get(server.url + ready, timeout=5).is_success:
                    return server
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"{told} was not ready within {patience:g} s")
    except BaseException:  # Ctrl-C as well
        stop_server(server)
        raise


def stop_server(server: Server) -> int:
    """SIGTERM to the process and to those that it has started, and its exit status; what is left of them is killed."""
    running = server.process.poll() is None
    started = psutil.Process(server.process.pid).children(recursive=True) if running else []
    family = [*started, server.process]
    try:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        return server.process.wait(timeout=60)
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
