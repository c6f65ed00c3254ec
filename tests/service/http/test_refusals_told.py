"""What is refused or cut off at the connection is counted in /metrics, and told in the log."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.http import connections, segment
from tests.service.helpers.live import PATIENCE_S, Endless, Line
from tests.service.helpers.slow_clients import (
    GET,
    SHORT_S,
    assert_answered,
    counting,
    line_at_work,
    noise_request,
    refusals,
    slow_reader,
)

pytestmark = pytest.mark.usefixtures("impatient_with_heads")


@contextmanager
def counted_and_logged(reason: int | str, address: tuple[str, int], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Connections are refused with this status, or cut off for this reason, within: /metrics and the log say so."""
    with caplog.at_level("INFO"), counting(address, refusals(reason)):
        yield
    message, field = ("refused", "status") if isinstance(reason, int) else ("cut off", "reason")
    told = [vars(record)["fields"] for record in caplog.records if record.getMessage() == message]
    assert reason in [fields[field] for fields in told]


@pytest.mark.parametrize(
    ("sent", "status"),
    [(GET[:20], 408), (b"\0\r\n\r\n", 400), (GET[:-2].ljust(connections.HEAD_BYTES + 1, b"x"), 431), (200 * GET, 429)],
    ids=["half a head", "no HTTP", "a large head", "a flood"],
)
def test_what_is_refused_at_the_connection_is_counted_and_logged(
    sent: bytes, status: int, address: tuple[str, int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_PIPELINED_REQUESTS", 10)
    with counted_and_logged(status, address, caplog):
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
    working = line_at_work(address, held)
    with counted_and_logged(503, address, caplog), monkeypatch.context() as patch:
        time.sleep(2 * SHORT_S)  # what asked for the metrics has gone
        patch.setattr(connections, "MAX_CONNECTIONS", 1)
        assert Line(address).response().status_code == 503
    working.close()
    assert held.cancelled.wait(PATIENCE_S)
    with counted_and_logged("made room", address, caplog), monkeypatch.context() as patch:
        idle = Line(address)
        idle.send(GET)
        assert idle.response().status_code == 200
        patch.setattr(connections, "MAX_CONNECTIONS", 1)
        assert_answered(address)


@pytest.mark.parametrize(
    ("constant", "value", "reason"),
    [("unsent.WRITE_CHECK_S", 1.0, "not taken"), ("connections.MAX_UNSENT_BYTES", 1, "made room")],
)
def test_an_answer_that_is_not_taken_is_counted_and_logged(
    constant: str,
    value: float,
    reason: str,
    address: tuple[str, int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"service.http.{constant}", value)
    with counted_and_logged(reason, address, caplog), slow_reader(address) as connection:
        connection.sendall(noise_request())
        connection.recv(1, socket.MSG_PEEK)  # its answer is there
        time.sleep(2 * SHORT_S)
