"""Slow, stalled and too many clients: each wait has an end, and the others are served meanwhile."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.http import connections, segment
from service.inference.workers import Ticket
from service.pipeline import Job, process
from service.results.renderings import Rendered
from tests.service.answers import assert_problem
from tests.service.live import Endless, Line, chunked, colors_app, head, serving
from tests.service.pictures import encoded, flag

SHORT_S, PATIENCE_S = 1.0, 30.0  # a machine under load stalls for a good part of a second
IMAGE = encoded(flag())
GET = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
GET_MEGABYTE = b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: test\r\n\r\n"  # and more


@pytest.fixture(scope="module")
def address(colors_folder: Path) -> Iterator[tuple[str, int]]:
    """The application behind the server that `python -m service` starts."""
    with serving(colors_app(colors_folder)) as address:
        yield address


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", SHORT_S)


def assert_cut_off(line: Line, status: int, limit: float | None = None) -> None:
    """The next answer is a problem of that status, and the last on its connection."""
    response = line.response()
    assert_problem(response, status, limit=limit)
    assert response.headers["connection"] == "close"
    assert line.is_closed()


@pytest.mark.parametrize("start", [b"\r\n", b"G", b"GET /livez HTTP/1.1\r\nHost: te"])
def test_half_a_head_is_cut_off_with_408(start: bytes, address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(start)
    assert_cut_off(line, 408, limit=SHORT_S)


def test_a_connection_that_asks_nothing_is_closed(address: tuple[str, int]) -> None:
    assert Line(address).is_closed()


def test_a_head_that_comes_byte_by_byte_has_no_more_time(address: tuple[str, int]) -> None:
    line, start = Line(address), time.monotonic()
    with pytest.raises(OSError):  # a closed connection shows as one of several
        while time.monotonic() < start + PATIENCE_S:
            line.send(b"X")
            time.sleep(SHORT_S / 10)
    assert time.monotonic() < start + PATIENCE_S


def test_the_head_of_a_second_request_has_its_own_time(address: tuple[str, int]) -> None:
    line = Line(address)
    for _ in range(3):
        time.sleep(SHORT_S / 2)
        line.send(GET)
        assert line.response().status_code == 200
    line.send(GET[:20])
    assert_cut_off(line, 408, limit=SHORT_S)


def test_a_request_whose_work_takes_longer_than_a_head_may_is_answered(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(job: Job, ticket: Ticket) -> tuple[object, Rendered]:
        time.sleep(2 * SHORT_S)
        return process(job, ticket)

    monkeypatch.setattr(segment, "process", slowly)
    line = Line(address)
    line.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE)
    assert line.response().status_code == 200


def test_a_head_without_end_is_cut_off_with_431(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    line = Line(address)
    start = b"GET /livez HTTP/1.1\r\nX: "
    line.send(start + b"x" * (connections.HEAD_BYTES + 1 - len(start)))
    assert_cut_off(line, 431, limit=connections.HEAD_BYTES)


@pytest.mark.parametrize("whole", [True, False])
def test_trailers_without_end_are_cut_off(whole: bool, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    line = Line(address)
    line.send(head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n")
    end = time.monotonic() + PATIENCE_S
    sent = 0
    with pytest.raises(OSError):  # a closed connection shows as one of several
        while time.monotonic() < end:
            line.send(b"X: " + b"y" * 1000 + b"\r\n" if whole else b"y" * 1000)
            sent += 1000
            time.sleep(0.001)
    assert sent < 20 * connections.HEAD_BYTES


def test_an_early_answer_to_a_large_body_reaches_a_client_that_sends_all_of_it_first(address: tuple[str, int]) -> None:
    line = Line(address)
    size = 20_000_000
    line.send(b"POST /nothing HTTP/1.1\r\nHost: test\r\n" + f"Content-Length: {size}\r\n\r\n".encode() + b"x" * size)
    assert line.response().status_code == 404
    line.send(GET)
    assert line.response().status_code == 200


def test_a_body_that_nobody_wants_and_that_does_not_end_is_cut_off(address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(b"POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nstart")
    assert line.response().status_code == 404
    line.send(b"more")
    assert line.is_closed()


def test_a_flood_of_requests_on_one_connection_is_cut_off(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    few, many = connections.MOST_PIPELINED // 2, 200 * connections.MOST_PIPELINED
    line = Line(address)
    line.send(few * GET)
    for _ in range(few):
        assert line.response().status_code == 200
    flood, answers = Line(address), 0
    with suppress(OSError):  # it is cut off while it is sent
        flood.send(many * GET)
    with suppress(OSError, IndexError):
        while flood.response().status_code == 200:
            answers += 1
    assert answers < many
    line.send(GET)
    assert line.response().status_code == 200


@pytest.mark.parametrize("nonsense", [b"\0\0\0\0\r\n\r\n", b"GET http://[/ HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_a_problem_too(nonsense: bytes, address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(nonsense)
    assert_cut_off(line, 400)


def test_of_too_many_connections_the_one_that_has_waited_longest_goes(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    stalled = []
    for _ in range(20):
        stalled.append(Line(address))
        stalled[-1].send(b"GET /livez HT")
        time.sleep(0.005)
    fresh = Line(address)
    fresh.send(GET)
    assert fresh.response().status_code == 200
    stalled[-1].send(GET[13:])
    assert stalled[-1].response().status_code == 200
    assert stalled[0].is_closed()
    for line in (*stalled, fresh):
        line.close()


def test_connections_whose_work_is_under_way_are_not_dropped_for_new_ones(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Endless()
    monkeypatch.setattr(segment, "process", held)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    working = Line(address)
    working.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE)
    assert held.started.wait(PATIENCE_S)
    time.sleep(2 * SHORT_S)  # what earlier tests left open has gone
    assert_cut_off(Line(address), 503, limit=1)
    working.close()
    assert held.cancelled.wait(PATIENCE_S)


@pytest.mark.parametrize("form", [False, True])
def test_work_stops_and_frees_its_place_when_the_client_goes(
    form: bool, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Endless()
    monkeypatch.setattr(segment, "process", held)
    line = Line(address)
    content, kind = IMAGE, "Content-Type: image/png"
    if form:
        content = b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + IMAGE + b"\r\n--b--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=b"
    request = b"POST /segment HTTP/1.1\r\nHost: test\r\n" + f"{kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    line.send(request + content)
    assert held.started.wait(PATIENCE_S)
    line.close()
    assert held.cancelled.wait(PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while "segment_admitted_megapixels 0.0" not in (text := metrics(address)) or '"499"' not in text:
        assert time.monotonic() < end
        time.sleep(0.02)


def metrics(address: tuple[str, int]) -> str:
    line = Line(address)
    line.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
    return line.response().text


def test_idle_connections_and_stalled_bodies_make_room_too(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    monkeypatch.setattr(connections, "STALLED_S", 0.05)
    time.sleep(2 * SHORT_S)  # what earlier tests left open has gone
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 4)
    idle = [Line(address) for _ in range(4)]
    for line in idle:
        line.send(GET)
        assert line.response().status_code == 200
    stalled = []
    for _ in range(4):
        stalled.append(Line(address))
        stalled[-1].send(head("Content-Length: 100000") + b"start")
        time.sleep(0.1)
    assert all(line.is_closed() for line in idle)
    fresh = Line(address)
    fresh.send(GET)
    assert fresh.response().status_code == 200
    assert stalled[0].is_closed()
    for line in (*idle, *stalled, fresh):
        line.close()


def test_an_idle_connection_outlives_those_that_clients_keep(address: tuple[str, int]) -> None:
    """httpx and Node let go of theirs after five seconds: were it closed just then, a request might be lost."""
    line = Line(address)
    for pause in (6, 0):
        line.send(GET)
        assert line.response().status_code == 200
        time.sleep(pause)
    line.close()


@contextmanager
def slow_reader(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A connection that buffers little: what the test does not read stays with the service."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(address)
        yield connection


def test_a_client_that_does_not_take_its_answers_is_cut_off(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TAKE_S", SHORT_S)
    with slow_reader(address) as connection:
        times = 40
        connection.sendall(times * GET_MEGABYTE)
        time.sleep(5 * SHORT_S)
        received = 0
        with suppress(ConnectionResetError):
            while chunk := connection.recv(1 << 20):
                received += len(chunk)
    assert 0 < received < times * 1_000_000


def test_of_too_many_answers_the_one_goes_that_has_been_taken_for_longest(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8))
    image = encoded(noise, "JPEG")
    monkeypatch.setattr(connections, "MOST_UNTAKEN", 4 * len(image))
    fields = f"Content-Type: image/jpeg\r\nContent-Length: {len(image)}\r\nConnection: close\r\n\r\n"
    request = f"POST /segment?format=overlay&opacity=0 HTTP/1.1\r\nHost: test\r\n{fields}".encode() + image
    lines, received = [], []
    with ExitStack() as stack:
        for _ in range(6):
            lines.append(stack.enter_context(slow_reader(address)))
            lines[-1].sendall(request)
            lines[-1].recv(1, socket.MSG_PEEK)  # its answer is there
        for line in lines:
            received.append(0)
            with suppress(ConnectionResetError):
                while chunk := line.recv(1 << 20):
                    received[-1] += len(chunk)
    assert received[0] < len(image) < received[-1]


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TAKE_S", 1.5)
    with slow_reader(address) as connection:
        times, received, start = 8, 0, time.monotonic()
        connection.sendall((times - 1) * GET_MEGABYTE + GET_MEGABYTE[:-2] + b"Connection: close\r\n\r\n")
        while chunk := connection.recv(1 << 16):
            received += len(chunk)
            if time.monotonic() < start + 4:
                time.sleep(0.02)
    assert received > times * 1_000_000


def test_a_client_that_has_taken_one_answer_has_its_time_for_the_next(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TAKE_S", 1.5)
    with slow_reader(address) as connection:
        connection.sendall(GET_MEGABYTE)
        received = len(connection.recv(1, socket.MSG_PEEK))
        time.sleep(0.3)  # the answer waits to be taken: the clock runs
        while received < 1_000_000:
            received += len(connection.recv(1 << 16))
        time.sleep(0.4)
        connection.sendall(GET_MEGABYTE)
        time.sleep(1.5)  # over the end of the first answer's time
        while received < 2_000_000:
            chunk = connection.recv(1 << 16)
            assert chunk
            received += len(chunk)


UPGRADES = {
    "http2": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    "websocket": "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: x",
}


@pytest.mark.parametrize("pause_s", [0, 0.2])
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_a_request_that_asks_for_another_protocol_is_answered_as_if_it_did_not(
    upgrade: str, in_chunks: bool, pause_s: float, address: tuple[str, int]
) -> None:
    length = "Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(IMAGE)}"
    start, body = head(UPGRADES[upgrade], length), chunked(IMAGE, 50) if in_chunks else IMAGE
    line = Line(address)
    for _ in range(2):
        if pause_s:
            for piece in (start[:-30], start[-30:], body[:40], body[40:]):
                line.send(piece)
                time.sleep(pause_s)
        else:
            line.send(start + body)
        assert line.response().status_code == 200
    line.send(start + body + GET + start + body)  # pipelined
    assert [line.response().status_code for _ in range(3)] == [200] * 3
    line.close()


def test_a_connection_ends_after_a_request_that_asks_for_another_protocol_and_for_its_end(address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(head("Connection: close, Upgrade", "Upgrade: h2c", f"Content-Length: {len(IMAGE)}") + IMAGE)
    assert line.response().status_code == 200
    assert line.is_closed()


@pytest.mark.parametrize("method", ["CONNECT", "GET"])
def test_requests_without_number_that_ask_for_another_protocol_are_cut_off(method: str, address: tuple[str, int]) -> None:
    line, fine = Line(address), Line(address)
    with suppress(OSError):  # it is cut off while it is sent
        line.send(10_000 * f"{method} / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".encode())
    fine.send(GET)
    assert fine.response().status_code == 200
    line.close()
    fine.close()


@contextmanager
def counted_and_logged(
    reason: str, address: tuple[str, int], caplog: pytest.LogCaptureFixture, message: str = "refused"
) -> Iterator[None]:
    """Connections are refused or cut off for this reason within: /metrics and the log say so."""

    def count() -> float:
        found = re.search(rf'segment_connections_refused_total{{reason="{reason}"}} (\S+)', metrics(address))
        return float(found[1]) if found else 0

    before = count()
    with caplog.at_level("INFO"):
        yield
        end = time.monotonic() + PATIENCE_S
        while count() <= before:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert message in caplog.messages


@pytest.mark.parametrize(
    ("sent", "status"),
    [(GET[:20], 408), (b"\0\r\n\r\n", 400), (GET[:-2].ljust(connections.HEAD_BYTES + 1, b"x"), 431), (200 * GET, 429)],
    ids=["half a head", "no HTTP", "a large head", "a flood"],
)
def test_what_is_refused_at_the_connection_is_counted_and_logged(
    sent: bytes, status: int, address: tuple[str, int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_PIPELINED", 10)
    with counted_and_logged(str(status), address, caplog):
        line = Line(address)
        line.send(sent)
        if status != 429:  # a flood is cut off without an answer of its own
            assert line.response().status_code == status
        line.close()


def test_one_connection_too_many_and_one_that_makes_room_are_counted_and_logged(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Endless()
    monkeypatch.setattr(segment, "process", held)
    working = Line(address)
    working.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE)
    assert held.started.wait(PATIENCE_S)
    with counted_and_logged("503", address, caplog), monkeypatch.context() as patch:
        time.sleep(2 * SHORT_S)  # what asked for the metrics has gone
        patch.setattr(connections, "MAX_CONNECTIONS", 1)
        assert Line(address).response().status_code == 503
    working.close()
    assert held.cancelled.wait(PATIENCE_S)
    with counted_and_logged("made room", address, caplog, "cut off"), monkeypatch.context() as patch:
        idle = Line(address)
        idle.send(GET)
        assert idle.response().status_code == 200
        patch.setattr(connections, "MAX_CONNECTIONS", 1)
        assert_answered(address)


def assert_answered(address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(GET)
    assert line.response().status_code == 200
    line.close()


@pytest.mark.parametrize(("constant", "value", "reason"), [("TAKE_S", 1.0, "not taken"), ("MOST_UNTAKEN", 1, "made room")])
def test_an_answer_that_is_not_taken_is_counted_and_logged(
    constant: str,
    value: float,
    reason: str,
    address: tuple[str, int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8))
    image = encoded(noise, "JPEG")
    monkeypatch.setattr(connections, constant, value)
    with counted_and_logged(reason, address, caplog, "cut off"), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(address)
        fields = f"Content-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
        connection.sendall(f"POST /segment?format=overlay&opacity=0 HTTP/1.1\r\nHost: test\r\n{fields}".encode() + image)
        connection.recv(1, socket.MSG_PEEK)  # its answer is there
        time.sleep(2 * SHORT_S)


def test_a_client_that_leaves_requests_behind_the_one_at_work_is_worked_for_no_longer(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Endless()
    monkeypatch.setattr(segment, "process", held)
    line = Line(address)
    line.send(2 * (head(f"Content-Length: {len(IMAGE)}") + IMAGE))
    assert held.started.wait(PATIENCE_S)
    line.close()
    assert held.cancelled.wait(PATIENCE_S)
