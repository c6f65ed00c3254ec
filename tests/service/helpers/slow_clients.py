"""Clients that are slow or want too much: what they send, and what they are told."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from PIL import Image

from tests.service.helpers.answers import assert_problem
from tests.service.helpers.live import PATIENCE_S, Endless, Gate, Line, head
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.waiting import wait_until

SHORT_S = 1.0  # a machine under load stalls for a good part of a second
IMAGE = encoded(flag())
GET = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
POST = head(f"Content-Length: {len(IMAGE)}") + IMAGE
GET_MEGABYTE = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: test\r\n\r\n"  # and more


def assert_cut_off(line: Line, status: int, limit: float | None = None) -> None:
    """The next answer is a problem of that status, and the last on its connection."""
    response = line.response()
    assert_problem(response, status, limit=limit)
    assert response.headers["connection"] == "close"
    assert line.is_closed()


def line_at_work(address: tuple[str, int], work: Endless | Gate) -> Line:
    """A connection whose request has reached `work`, which stands in its way."""
    line = Line(address)
    line.send(POST)
    assert work.started.wait(PATIENCE_S)
    return line


def assert_answered(address: tuple[str, int]) -> None:
    """A client that has just come is served."""
    line = Line(address)
    line.send(GET)
    assert line.response().status_code == 200
    line.close()


def metrics(address: tuple[str, int]) -> str:
    """What /metrics says."""
    line = Line(address)
    line.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
    return line.response().text


def counted(address: tuple[str, int], sample: str) -> float:
    """What /metrics says of one name and its labels."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", metrics(address), re.MULTILINE)
    return float(found[1]) if found else 0


@contextmanager
def counting(address: tuple[str, int], sample: str) -> Iterator[None]:
    """One of the counters of /metrics goes up by what happens within."""
    before = counted(address, sample)
    yield
    wait_until(lambda: counted(address, sample) > before)


def refusals(reason: str | int) -> str:
    """The name in /metrics of the connections that were refused or cut off for one reason."""
    return f'segment_connections_refused_total{{reason="{reason}"}}'


def answers(status: int) -> str:
    """The name in /metrics of the answers of one status to POST /segment."""
    return f'segment_http_requests_total{{route="/segment",status="{status}"}}'


@contextmanager
def slow_reader(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A connection that buffers little: what the test does not read stays with the service."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(address)
        yield connection


@cache
def noise() -> bytes:
    """A large JPEG, which does not compress."""
    return encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)), "JPEG")


def noise_request(*headers: str) -> bytes:
    """Asks for the noise itself: the answer is larger than the upload."""
    image = noise()
    fields = "\r\n".join(["Content-Type: image/jpeg", f"Content-Length: {len(image)}", *headers])
    return f"POST /segment?format=overlay&opacity=0 HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n".encode() + image
