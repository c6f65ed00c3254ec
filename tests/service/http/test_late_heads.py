"""Heads of requests that come late, have no end or are no HTTP: the connection is cut off, and idle ones are not."""

import time

import pytest

from service.http import connections, segment
from service.inference.scheduling.workers import Ticket
from service.pipeline import Job, process
from service.results.renderings import Rendered
from tests.service.helpers.live import PATIENCE_S, Gate, Line, head
from tests.service.helpers.slow_clients import GET, IMAGE, POST, SHORT_S, assert_cut_off, counted, line_at_work, refusals

pytestmark = pytest.mark.usefixtures("impatient_with_heads")


@pytest.mark.parametrize("start", [b"\r\n", b"G", b"GET /livez HTTP/1.1\r\nHost: te"])
def test_half_a_head_is_cut_off_with_408(start: bytes, address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(start)
    assert_cut_off(line, 408, limit=SHORT_S)


def test_a_client_that_has_left_before_its_head_was_whole_is_not_counted_as_late(address: tuple[str, int]) -> None:
    before, gone, late = counted(address, refusals(408)), Line(address), Line(address)
    gone.send(GET[:20])
    gone.close()
    late.send(GET[:20])
    assert_cut_off(late, 408, limit=SHORT_S)  # so that the time of the one that has gone is over, too
    assert counted(address, refusals(408)) == before + 1


def test_a_connection_that_asks_nothing_is_closed(address: tuple[str, int]) -> None:
    assert Line(address).is_closed()


def test_a_head_that_comes_byte_by_byte_has_no_more_time(address: tuple[str, int]) -> None:
    line, start = Line(address), time.monotonic()
    with pytest.raises(OSError):  # a closed connection shows as one of several
        while time.monotonic() < start + PATIENCE_S:
            line.send(b"X")
            time.sleep(SHORT_S / 10)
    assert time.monotonic() < start + PATIENCE_S


@pytest.mark.parametrize("more", [b"", b"x"])
def test_the_rest_of_a_body_that_nobody_wants_is_not_waited_for(more: bytes, address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(head("Content-Length: 1000000000", "Connection: close") + more)
    assert line.response().status_code == 413
    assert line.is_closed()


def test_the_last_of_several_requests_has_its_own_time(address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(GET + head(f"Content-Length: {len(IMAGE)}", "Connection: close") + IMAGE[:50])
    assert line.response().status_code == 200
    time.sleep(2 * SHORT_S)
    line.send(IMAGE[50:])
    assert line.response().status_code == 200
    assert line.is_closed()


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
    line.send(POST)
    assert line.response().status_code == 200


def test_half_a_head_behind_a_request_at_work_is_cut_off_once_that_is_answered(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(segment, "process", gate)
    line = line_at_work(address, gate)
    line.send(GET[:20])
    time.sleep(2 * SHORT_S)
    gate.open.set()
    assert line.response().status_code == 200
    assert_cut_off(line, 408, limit=SHORT_S)


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


@pytest.mark.parametrize("nonsense", [b"\0\0\0\0\r\n\r\n", b"GET http://[/ HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_a_problem_too(nonsense: bytes, address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(nonsense)
    assert_cut_off(line, 400)


def test_an_idle_connection_outlives_those_that_clients_keep(address: tuple[str, int]) -> None:
    """httpx and Node let go of theirs after five seconds: were it closed just then, a request might be lost."""
    line = Line(address)
    for pause in (6, 0):
        line.send(GET)
        assert line.response().status_code == 200
        time.sleep(pause)
    line.close()


@pytest.mark.parametrize("together", [True, False])
def test_a_body_that_is_malformed_is_400(together: bool, address: tuple[str, int]) -> None:
    line = Line(address)
    parts = [head("Transfer-Encoding: chunked"), b"5\r\nabcde\r\n", b"zz\r\n"]
    for part in [b"".join(parts)] if together else parts:
        line.send(part)
        time.sleep(0 if together else 0.1)
    assert_cut_off(line, 400)
