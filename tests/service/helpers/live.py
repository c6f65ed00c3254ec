"""An application behind a real socket, in this process: its constants can be changed, its threads be held."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.inference.scheduling.workers import Ticket
from service.pipeline import Job, process
from service.results.renderings import Rendered
from service.server import DrainingServer
from service.settings import Settings

PATIENCE_S = 30.0


class Endless:
    """Stands in for `process`: work that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.started, self.cancelled = threading.Event(), threading.Event()

    def __call__(self, job: Job, ticket: Ticket) -> tuple[object, Rendered]:
        self.started.set()
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                ticket.cancellation.check()
            except Exception:
                self.cancelled.set()
                raise
            time.sleep(0.01)
        raise AssertionError("nobody called it off")


class Gate:
    """Stands before the work of each request, which waits at it until it is open."""

    def __init__(self) -> None:
        self.started, self.open = threading.Event(), threading.Event()
        self.came: list[Ticket] = []

    def __call__(self, job: Job, ticket: Ticket) -> tuple[object, Rendered]:
        self.came.append(ticket)
        self.started.set()
        assert self.open.wait(PATIENCE_S)
        return process(job, ticket)


def colors_app(models: Path) -> FastAPI:
    """An application on the folder with the red, green and blue model, for a server."""
    return create_app(Settings(models_dir=models, default_model="colors", reload_s=0))


@contextmanager
def serving(app: FastAPI) -> Iterator[tuple[str, int]]:
    """(host, port) of the application while it runs in the server that `python -m service` starts."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = DrainingServer(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()


class Line:
    """One connection, on which anything can be sent."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=30)
        self._file = self._socket.makefile("rb")

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(content)

    def response(self) -> httpx.Response:
        """The next response."""
        status = int(self._file.readline().split()[1])
        headers = httpx.Headers()
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name] = value.strip()
        return httpx.Response(status, headers=headers, content=self._file.read(int(headers.get("content-length", 0))))

    def is_closed(self) -> bool:
        """Whether the other side hangs up, once all it has sent is read."""
        return not self._file.read(1)

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


def head(*headers: str, target: str = "/segment") -> bytes:
    """The head of a POST request."""
    lines = [f"POST {target} HTTP/1.1", "Host: test", "Content-Type: application/octet-stream", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def chunked(content: bytes, size: int = 65_536) -> bytes:
    """A body in chunks, whose length no header tells."""
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
