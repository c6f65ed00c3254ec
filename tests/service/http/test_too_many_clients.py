"""Too many connections, and too many requests on one: some are cut off, and the others are served meanwhile."""

import resource
import time
from contextlib import suppress

import pytest

from service.http import connections, segment
from tests.service.helpers.live import PATIENCE_S, Endless, Line, head
from tests.service.helpers.slow_clients import GET, IMAGE, SHORT_S, assert_cut_off

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
    working = Line(address)
    working.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE)
    assert held.started.wait(PATIENCE_S)
    time.sleep(2 * SHORT_S)  # what earlier tests left open has gone
    assert_cut_off(Line(address), 503, limit=1)
    working.close()
    assert held.cancelled.wait(PATIENCE_S)


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
