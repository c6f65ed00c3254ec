"""Requests that ask for another protocol are answered as if they did not."""

import time
from contextlib import suppress

import pytest

from tests.service.helpers.live import Line, chunked, head
from tests.service.helpers.slow_clients import GET, IMAGE, assert_answered

pytestmark = pytest.mark.usefixtures("impatient_with_heads")

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
    line = Line(address)
    many, answers = 10_000, 0
    with suppress(OSError):  # it is cut off while it is sent
        line.send(many * f"{method} / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".encode())
    assert_answered(address)
    with suppress(OSError, IndexError):
        while line.response():
            answers += 1
    assert answers < many
    line.close()
