"""Bodies of requests that are answered before they are whole: what is wrong with them brings no second answer."""

import time

import pytest

from service.http import connections
from tests.service.helpers.live import Line, head
from tests.service.helpers.slow_clients import GET, SHORT_S, counted, refusals

pytestmark = pytest.mark.usefixtures("impatient_with_heads")


def answered_early(address: tuple[str, int]) -> Line:
    """A connection whose request has its answer, but not the end of its body."""
    line = Line(address)
    line.send(head("Transfer-Encoding: chunked", target="/nothing") + b"3\r\nabc\r\n")
    assert line.response().status_code == 404
    return line


@pytest.mark.parametrize(
    "wrong", [b"zz\r\n", b"5", b"0\r\nX: " + b"x" * (connections.HEAD_BYTES + 1)], ids=["no size", "half", "large"]
)
def test_what_is_wrong_with_the_body_of_an_answered_request_ends_the_connection_without_a_second_answer(
    wrong: bytes, address: tuple[str, int]
) -> None:
    before = [counted(address, refusals(status)) for status in (400, 408, 431)]
    line = answered_early(address)
    line.send(wrong)
    assert line.is_closed()
    assert [counted(address, refusals(status)) for status in (400, 408, 431)] == before


@pytest.mark.parametrize("apart", [False, True])
def test_a_connection_is_idle_once_the_body_of_its_answered_request_has_come(apart: bool, address: tuple[str, int]) -> None:
    line = answered_early(address)
    for piece in (b"0\r\n", b"\r\n") if apart else (b"0\r\n\r\n",):
        line.send(piece)
        time.sleep(0.1)
    time.sleep(2 * SHORT_S)
    line.send(GET)
    assert line.response().status_code == 200
    line.close()


def test_half_a_head_behind_the_body_of_an_answered_request_has_no_more_time_than_others(address: tuple[str, int]) -> None:
    line = answered_early(address)
    line.send(b"0\r\n\r\n" + GET[:20])
    assert line.is_closed()  # within the patience of a line, which is shorter than a connection may be idle
