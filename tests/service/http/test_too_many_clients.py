"""Too many connections, and too many requests on one: some are cut off, and the others are served meanwhile."""

import resource
import socket
import time
from contextlib import suppress

import pytest

from service.http import connections, segment
from tests.service.helpers.live import PATIENCE_S, Endless, Gate, Line, head
from tests.service.helpers.slow_clients import (
    GET,
    IMAGE,
    SHORT_S,
    assert_answered,
    assert_cut_off,
    line_at_work,
    noise,
    noise_request,
    slow_reader,
)

pytestmark = pytest.mark.usefixtures("impatient_with_heads")


def test_a_flood_of_requests_on_one_connection_is_cut_off(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    few, many = connections.MAX_PIPELINED_REQUESTS // 2, 200 * connections.MAX_PIPELINED_REQUESTS
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


def test_there_are_no_more_connections_than_the_process_may_open_files_for(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (connections.OTHER_FILES + 8, 1 << 20))
    assert connections.max_connections() == 4
    idle = [Line(address) for _ in range(20)]
    fresh = Line(address)
    fresh.send(GET)
    assert fresh.response().status_code == 200
    assert idle[0].is_closed()
    for line in (*idle, fresh):
        line.close()


def test_connections_whose_work_is_under_way_are_not_dropped_for_new_ones(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Endless()
    monkeypatch.setattr(segment, "process", held)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    working = line_at_work(address, held)
    time.sleep(2 * SHORT_S)  # what earlier tests left open has gone
    assert_cut_off(Line(address), 503, limit=1)
    working.close()
    assert held.cancelled.wait(PATIENCE_S)


@pytest.mark.parametrize("size", [1, 500_000])  # of a body that is read on, and of one that the service leaves unread
def test_a_request_at_work_is_not_dropped_because_the_body_of_the_next_one_has_paused(
    size: int, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(segment, "process", gate)
    monkeypatch.setattr(connections, "STALLED_S", 0.05)
    working = line_at_work(address, gate)
    working.send(head("Content-Length: 1000000") + bytes(size))
    time.sleep(2 * SHORT_S)  # what earlier tests left open has gone
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    assert_cut_off(Line(address), 503, limit=1)
    gate.open.set()
    assert working.response().status_code == 200
    working.close()


def test_neither_a_body_under_way_nor_an_answer_that_is_being_taken_makes_room(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALLED_S", PATIENCE_S)
    sending = Line(address)
    with slow_reader(address) as taking:
        taking.sendall(noise_request())
        taking.recv(1, socket.MSG_PEEK)  # its answer is there
        sending.send(GET + head(f"Content-Length: {len(IMAGE)}") + IMAGE[:50])
        assert sending.response().status_code == 200  # so that its body has begun
        monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
        assert_cut_off(Line(address), 503, limit=2)
        received = 0
        while received < len(noise()):  # the answer is larger
            chunk = taking.recv(1 << 20)
            assert chunk
            received += len(chunk)
    sending.send(IMAGE[50:])
    assert sending.response().status_code == 200
    sending.close()


def test_a_connection_is_idle_from_the_end_of_its_answer_on(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", PATIENCE_S)
    gate = Gate()
    monkeypatch.setattr(segment, "process", gate)
    working, idle = line_at_work(address, gate), Line(address)
    idle.send(GET)
    assert idle.response().status_code == 200
    time.sleep(0.01)
    gate.open.set()
    assert working.response().status_code == 200
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    assert_answered(address)
    assert idle.is_closed()
    working.send(GET)
    assert working.response().status_code == 200
    for line in (working, idle):
        line.close()


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
