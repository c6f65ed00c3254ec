"""How a body may arrive: raw or as a form, whole or broken, fast or slow."""

import errno
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from fastapi.testclient import TestClient

from service.http import uploads
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, mask_of, post
from tests.service.helpers.live import Line, chunked, head, serving
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.slow_clients import answers, counting

IMAGE = encoded(flag())


def test_a_raw_body_and_a_form_get_the_same_answer(colors: TestClient) -> None:
    raw = mask_of(colors, IMAGE)
    form = colors.post("/segment?format=mask", files={"file": IMAGE})
    assert form.content == post(colors, IMAGE, format="mask").content
    assert raw.shape == flag().size[::-1]


@pytest.mark.parametrize(
    "name",
    ["a.png", "a.txt", "../../etc/passwd", "x" * 500, "Жаба 🐸.png", "a\r\nX: y.png", "a\0.png", 'a".png'],
    ids=["right", "wrong", "path", "long", "unicode", "header", "nul", "quote"],
)
def test_the_name_of_a_file_means_nothing(name: str, colors: TestClient) -> None:
    assert colors.post("/segment", files={"file": (name, IMAGE, "text/html")}).status_code == 200


@pytest.mark.parametrize("kind", ["image/png", "image/svg+xml", "IMAGE/PNG", "application/octet-stream; a=b", None])
def test_the_content_decides_whatever_image_type_is_declared(kind: str | None, colors: TestClient) -> None:
    assert colors.post("/segment", content=IMAGE, headers={"Content-Type": kind} if kind else {}).status_code == 200


def test_without_a_content_type_a_body_is_an_image(colors: TestClient) -> None:
    request = colors.build_request("POST", "/segment", content=IMAGE)
    assert "content-type" not in request.headers
    assert colors.send(request).status_code == 200


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "video/mp4", "", "ü", "*/*"]
)
def test_other_types_of_body_are_refused(kind: str, colors: TestClient) -> None:
    response = colors.post("/segment", content=IMAGE, headers={"Content-Type": kind.encode()})
    assert_problem(response, 415, "multipart/form-data, image/* or application/octet-stream")


def test_an_svg_is_refused_whatever_it_calls_itself(colors: TestClient) -> None:
    for kind in ("image/svg+xml", "image/png"):
        response = colors.post("/segment", content=b"<svg/>", headers={"Content-Type": kind})
        assert_problem(response, 415, "not a JPEG, PNG, WebP or TIFF")


def test_an_empty_body_or_file_is_a_bad_request(colors: TestClient) -> None:
    assert_problem(post(colors, b""), 400, "empty")
    assert_problem(colors.post("/segment"), 400, "empty")
    assert_problem(colors.post("/segment", files={"file": b""}), 400, "empty")


@pytest.mark.parametrize("fault", [*uploads.FULL, *uploads.NO_FOLDER], ids=errno.errorcode.get)
@pytest.mark.parametrize("form", [False, True])
def test_without_room_for_an_upload_the_answer_is_503_and_when_to_come_again(
    form: bool, fault: int, colors: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = AsyncMock(side_effect=OSError(fault, os.strerror(fault)))
    monkeypatch.setattr("starlette.datastructures.UploadFile.write", full)
    response = colors.post("/segment", files={"file": IMAGE}) if form else post(colors, IMAGE)
    assert_problem(response, 503, "no room")
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("form", [False, True])
def test_where_the_temporary_folder_has_gone_large_uploads_are_503(
    form: bool, colors: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    large = IMAGE + bytes(uploads.SPOOL_BYTES)
    for image, status in ((large, 503), (IMAGE, 200)):
        response = colors.post("/segment", files={"file": image}) if form else post(colors, image)
        assert response.status_code == status
    monkeypatch.undo()
    assert post(colors, large).status_code == 200


def test_where_no_thread_can_be_started_the_answer_is_503_and_when_to_come_again(
    colors: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def short(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("asyncio.to_thread", short)
    response = post(colors, IMAGE)
    assert_problem(response, 503, "memory")
    assert int(response.headers["retry-after"]) >= 1


def test_more_than_all_requests_together_may_hold_is_503_and_is_let_go_of(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(max_upload_bytes=2 * len(IMAGE))
    monkeypatch.setattr(uploads, "UPLOADS", 0.25)
    for _ in range(3):
        assert_problem(post(client, IMAGE), 503, "no room")
    monkeypatch.setattr(uploads, "UPLOADS", 0.5)
    for _ in range(3):
        assert post(client, IMAGE).status_code == 200


@pytest.fixture(scope="module")
def impatient(make_client: MakeClient) -> Iterator[tuple[str, int]]:
    """An application on a real socket, waiting for a body no longer than an instant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "PAUSE_S", 1.0)
        patch.setattr(uploads, "RATE_CHECK_S", 1.0)
        with serving(make_client().app) as address:  # type: ignore[arg-type]
            yield address


@pytest.fixture
def line(impatient: tuple[str, int]) -> Iterator[Line]:
    """A connection to it."""
    line = Line(impatient)
    yield line
    line.close()


def test_a_body_that_stalls_is_408_and_the_connection_ends(line: Line) -> None:
    line.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE[:50])
    response = line.response()
    assert_problem(response, 408, "no data", limit=1.0)
    assert response.headers["connection"] == "close"
    assert line.is_closed()


def test_a_body_that_never_begins_is_408(line: Line) -> None:
    line.send(head("Transfer-Encoding: chunked"))
    assert line.response().status_code == 408


def test_a_body_that_drips_is_408_though_it_never_pauses(line: Line) -> None:
    line.send(head("Content-Length: 10000"))
    done = threading.Event()

    def drip() -> None:
        with suppress(OSError):  # the other side may hang up first
            while not done.is_set():
                line.send(b".")
                time.sleep(0.05)

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        response = line.response()
    finally:
        done.set()
        dripping.join()
    assert_problem(response, 408, "less than 16,384 bytes a second", limit=uploads.SLOWEST_BYTES_PER_S)


def test_a_form_that_stalls_is_408(line: Line) -> None:
    content = head("Content-Length: 5000").replace(b"application/octet-stream", b"multipart/form-data; boundary=x")
    line.send(content + b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + IMAGE[:20])
    assert line.response().status_code == 408


def test_a_whole_body_in_small_pieces_is_taken_and_the_connection_stays(line: Line) -> None:
    for _ in range(2):
        line.send(head("Transfer-Encoding: chunked") + chunked(IMAGE, 7))
        assert line.response().status_code == 200


@pytest.mark.parametrize(("version", "statuses"), [("1.1", [100, 200]), ("1.0", [200])])
def test_only_a_client_that_knows_of_it_is_told_to_continue(version: str, statuses: list[int], line: Line) -> None:
    start = head("Expect: 100-continue", f"Content-Length: {len(IMAGE)}")
    line.send(start.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
    time.sleep(0.2)
    line.send(IMAGE)
    assert [line.response().status_code for _ in statuses] == statuses


def test_a_client_that_goes_away_leaves_the_service_at_work(line: Line, impatient: tuple[str, int]) -> None:
    with counting(impatient, answers(499)):
        line.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE[:50])
        line.close()
    other = Line(impatient)
    other.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE)
    assert other.response().status_code == 200
    other.close()


def test_more_bytes_than_were_declared_are_not_part_of_the_image(line: Line) -> None:
    line.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE + b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
    assert line.response().status_code == 200
    assert line.response().content == b'{"status":"ok"}'


def test_a_body_that_begins_fast_and_then_drips_is_408_and_holds_room_no_longer(line: Line) -> None:
    line.send(head("Content-Length: 4000000") + bytes(2_000_000))
    with suppress(OSError):  # the other side hangs up
        for _ in range(100):
            line.send(b".")
            time.sleep(0.05)
    assert_problem(line.response(), 408, "less than 16,384 bytes a second", limit=uploads.SLOWEST_BYTES_PER_S)


def test_a_body_that_comes_steadily_is_taken_however_long_it_is(line: Line) -> None:
    pieces, size = 60, 20_000
    line.send(head(f"Content-Length: {len(IMAGE) + pieces * size}") + IMAGE)
    for _ in range(pieces):
        line.send(bytes(size))  # behind the image: nobody reads it
        time.sleep(0.05)
    assert line.response().status_code == 200
