"""Requests that have come whole are answered, whatever follows them on their connection."""

import httpx
import pytest

from service.http import connections
from tests.service.helpers.live import Line, chunked, head
from tests.service.helpers.slow_clients import GET, IMAGE, POST

NONSENSE = b"\0\1\2 nonsense\r\n\r\n"
TWO_LENGTHS = head("Content-Length: 1", "Content-Length: 2")
LARGE_HEAD = GET[:-2] + b"X-Large: " + b"x" * (connections.HEAD_BYTES + 1)
BROKEN_BODY = head("Transfer-Encoding: chunked") + b"5\r\nhello\r\nno number\r\n"
TARGETS = [f"{target} HTTP/1.1\r\nHost: test\r\n\r\n".encode() for target in ("CONNECT a:443", "GET http://h:99999/")]
LARGE_TRAILER = (
    head("Transfer-Encoding: chunked") + chunked(IMAGE)[:-2] + b"X: " + b"x" * (connections.HEAD_BYTES + 1) + b"\r\n\r\n"
)


def answers(sent: bytes, number: int, address: tuple[str, int]) -> list[httpx.Response]:
    """That many answers to what is sent, after which the connection is closed."""
    line = Line(address)
    line.send(sent)
    found = [line.response() for _ in range(number)]
    assert line.is_closed()
    line.close()
    return found


def test_a_content_length_that_is_too_small_is_told_by_the_image(address: tuple[str, int]) -> None:
    [answer] = answers(head(f"Content-Length: {len(IMAGE) - 30}") + IMAGE, 1, address)
    assert answer.status_code == 400
    assert "truncated" in answer.json()["detail"]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("follows", [NONSENSE, TWO_LENGTHS, LARGE_HEAD, BROKEN_BODY, *TARGETS], ids=range(6))
def test_whole_requests_are_answered_before_the_connection_ends_for_what_follows(
    follows: bytes, number: int, address: tuple[str, int]
) -> None:
    found = answers(number * POST + follows + POST, number, address)
    assert [answer.status_code for answer in found] == number * [200]


def test_a_flood_of_requests_is_answered_up_to_the_limit(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_PIPELINED_REQUESTS", 5)
    found = answers(50 * GET, 6, address)  # one is being answered, five wait
    assert [answer.status_code for answer in found] == 6 * [200]


def test_an_image_whose_trailer_is_too_large_is_answered(address: tuple[str, int]) -> None:
    [answer] = answers(LARGE_TRAILER, 1, address)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("target", "status"), [("http://test", 200), ("HTTP://test?a", 200), ("http://test/livez", 200), ("http://test/x", 404)]
)
def test_a_target_may_be_a_whole_url_with_or_without_a_path(target: str, status: int, address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    answer = line.response()
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html") == ("/" not in target[7:])
    line.close()


@pytest.mark.parametrize(
    ("version", "fields", "status"),
    [
        ("1.1", "", 400),
        ("1.1", "Host: a\r\nHost: b\r\n", 400),
        ("1.0", "", 200),
        ("1.1", "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("1.1", "Host: a\r\nTransfer-Encoding: Chunked\r\n", 200),
    ],
)
def test_a_request_has_one_host_and_no_coding_but_chunked(
    version: str, fields: str, status: int, address: tuple[str, int]
) -> None:
    line = Line(address)
    line.send(f"GET /livez HTTP/{version}\r\n{fields}\r\n".encode() + (b"0\r\n\r\n" if "Chunked" in fields else b""))
    answer = line.response()
    assert answer.status_code == status
    assert answer.headers["content-type"] == ("application/problem+json" if status != 200 else "application/json")
    line.close()


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (LARGE_HEAD + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501),
    ],
    ids=["large head", "no host", "gzip"],
)
def test_a_refused_request_is_the_last_of_its_connection(refused: bytes, status: int, address: tuple[str, int]) -> None:
    [answer] = answers(refused + GET, 1, address)
    assert answer.status_code == status
