"""Limits of size, each at its last byte and pixel."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, post
from tests.service.helpers.pictures import encoded, flag, png_header

LIMIT = 10_000
IMAGE = encoded(flag())


@pytest.fixture(scope="module")
def limited(make_client: MakeClient) -> TestClient:
    """A client of an application that takes 10,000 bytes and no more."""
    return make_client(max_upload_bytes=LIMIT)


def padded(length: int) -> bytes:
    """The same image in a file of that length: what follows a PNG's end is nobody's business."""
    return IMAGE + bytes(length - len(IMAGE))


def pieces(content: bytes, size: int = 999) -> Iterator[bytes]:
    """A body that httpx sends without saying its length."""
    yield from (content[start : start + size] for start in range(0, len(content), size))


def form_of(length: int) -> tuple[bytes, dict[str, str]]:
    """A multipart body of exactly that length in all, and its header."""
    start = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    end = b"\r\n--x--\r\n"
    return start + padded(length - len(start) - len(end)) + end, {"Content-Type": "multipart/form-data; boundary=x"}


def test_a_raw_body_of_exactly_the_limit_is_taken(limited: TestClient) -> None:
    assert post(limited, padded(LIMIT)).status_code == 200


def test_a_raw_body_of_one_byte_more_is_refused(limited: TestClient) -> None:
    assert_problem(post(limited, padded(LIMIT + 1)), 413, "larger than 10,000 bytes", limit=LIMIT)


def test_without_a_content_length_the_bytes_are_counted_as_they_come(limited: TestClient) -> None:
    for extra, status in ((0, 200), (1, 413)):
        response = limited.post("/segment", content=pieces(padded(LIMIT + extra)), headers={"Content-Type": "image/png"})
        assert "content-length" not in response.request.headers
        assert response.status_code == status
    assert_problem(response, 413, limit=LIMIT)


def test_of_a_form_the_whole_body_counts(limited: TestClient) -> None:
    for extra, status in ((0, 200), (1, 413)):
        content, headers = form_of(LIMIT + extra)
        assert len(content) == LIMIT + extra
        declared = limited.post("/segment", content=content, headers=headers)
        counted = limited.post("/segment", content=pieces(content), headers=headers)
        assert declared.status_code == counted.status_code == status
    assert_problem(declared, 413, limit=LIMIT)
    assert_problem(counted, 413, limit=LIMIT)


def test_the_declared_length_is_believed_before_a_byte_is_read(limited: TestClient) -> None:
    def body() -> Iterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    headers = {"Content-Type": "image/png", "Content-Length": str(LIMIT + 1)}
    assert_problem(limited.post("/segment", content=body(), headers=headers), 413, limit=LIMIT)


@pytest.mark.parametrize("length", ["99999999999999999999999999", "-1", "+5", "1e9", "five", "٣", ""])
def test_an_odd_declared_length_is_no_way_around_the_limit(length: str, limited: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Content-Length": length.encode()}
    response = limited.post("/segment", content=pieces(padded(LIMIT + 1)), headers=headers)
    assert_problem(response, 413, limit=LIMIT)


def test_an_image_of_exactly_as_many_pixels_as_allowed_is_taken_and_of_one_row_more_is_not(make_client: MakeClient) -> None:
    client = make_client(max_pixels=6000)
    assert post(client, encoded(flag(100, 60))).status_code == 200
    assert_problem(post(client, encoded(flag(100, 61))), 413, "6100 pixels", limit=6000)
    assert_problem(post(client, encoded(flag(6001, 1))), 413, "6001 pixels", limit=6000)


def test_the_default_limit_of_pixels_is_met_by_a_header_alone(colors: TestClient) -> None:
    assert_problem(post(colors, png_header(8192, 8193)), 413, limit=67_108_864)
    assert_problem(post(colors, png_header(8192, 8192)), 400)  # within the limit: now the pixels are missed
