"""Bodies made to break things, thrown at a real server: problems come back, and nothing else happens."""

import random
import re
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.service.helpers.answers import assert_problem, mask_of, post
from tests.service.helpers.hostile import ABSURD, BOMBS, HEADERS, OTHERS
from tests.service.helpers.live import Line, head
from tests.service.helpers.pictures import (
    chunk,
    encoded,
    flag,
    huge_png,
    jpeg_header,
    png,
    png_header,
    tiff,
    tile_bomb,
    webp,
)
from tests.service_process import Server, start_server, stop_server

MAX_UPLOAD_BYTES = 1_000_000
IMAGE = encoded(flag())
TILE = 8200  # its square is just above the default limit of pixels
ONE_ROW = png((67_000_000, 1), 1, 0)


@pytest.fixture(scope="module")
def guarded(colors_folder: Path) -> Iterator[Server]:
    """A server of its own process, with a small limit of bytes."""
    limit = str(MAX_UPLOAD_BYTES)
    server = start_server(MODELS_DIR=str(colors_folder), DEFAULT_MODEL="colors", MAX_UPLOAD_BYTES=limit)
    yield server
    stop_server(server)


@pytest.fixture(scope="module")
def http(guarded: Server) -> Iterator[httpx.Client]:
    """A client of it that keeps one connection."""
    with httpx.Client(base_url=guarded.url, timeout=60, limits=httpx.Limits(max_connections=1)) as client:
        yield client


@cache
def hostile_bodies() -> dict[str, bytes]:
    """200 bodies that no service should answer with a mask, each with what is wrong with it."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    chance = random.Random(0)
    bodies = {"empty": b""} | OTHERS | HEADERS
    bodies |= {f"absurd TIFF: {name}": body for name, body in ABSURD.items() if "successor" not in name}
    bodies |= {
        "169 megapixels": huge_png(),
        "a tile of 67 megapixels": tile_bomb(TILE),
        "a JPEG header and no more": jpeg_header(100, 100),
        "a PNG header and no more": png_header(100, 100),
        "a WebP that claims to be longer": webp(64, 64)[:-9],
        "floating point": encoded(Image.new("F", (8, 8)), "TIFF"),
        "32 bits": encoded(Image.new("I", (8, 8)), "TIFF"),
        "one byte too many": IMAGE + bytes(MAX_UPLOAD_BYTES + 1 - len(IMAGE)),
        "5 bands": tiff((256, 4, [1]), (257, 4, [1]), (258, 3, [8] * 5), (262, 3, [1]), (273, 4, [8]), (277, 3, [5])),
        "one row of 67 megapixels": ONE_ROW,
    }
    sound = [encoded(noise, form) for form in ("JPEG", "PNG", "WEBP", "TIFF")]
    while len(bodies) < 200:
        whole = chance.choice(sound)
        bodies[f"{len(bodies)}: truncated"] = whole[: chance.randrange(1, len(whole) * 9 // 10)]
    return bodies


def test_200_hostile_bodies_are_200_problems_and_the_connection_lives_through_them(http: httpx.Client, guarded: Server) -> None:
    expected = mask_of(http, IMAGE)
    bodies = hostile_bodies()
    assert len(bodies) == 200
    statuses: dict[int, int] = {}
    for name, body in bodies.items():
        response = post(http, body)
        assert 400 <= response.status_code < 500, f"{name}: {response.status_code} {response.text[:200]}"
        assert_problem(response, response.status_code, limit=response.json().get("limit"))
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
    assert set(statuses) == {400, 413, 415}
    assert (mask_of(http, IMAGE) == expected).all()
    assert http.get("/readyz").status_code == 200
    assert 'status="5' not in http.get("/metrics").text
    assert guarded.process.poll() is None


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_bomb_in_metadata_is_a_problem(name: str, place: str, http: httpx.Client) -> None:
    assert_problem(post(http, png((4, 4), **{place: BOMBS[name]})), 400, "too large")  # type: ignore[arg-type]


@settings(max_examples=40)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]), st.integers(0, 1 << 20), st.integers(0, 255))
def test_one_wrong_byte_is_a_problem_or_an_answer(http: httpx.Client, form: str, place: int, value: int) -> None:
    body = bytearray(encoded(flag(), form))
    body[place % len(body)] = value
    response = post(http, bytes(body))
    if response.status_code != 200:
        assert response.status_code in {400, 413, 415}
        assert_problem(response, response.status_code, limit=response.json().get("limit"))


def test_hostile_bodies_at_once_do_not_disturb_a_good_one(guarded: Server, http: httpx.Client) -> None:
    expected = mask_of(http, IMAGE)
    bodies = [*list(hostile_bodies().values())[:40], IMAGE, IMAGE]
    with httpx.Client(base_url=guarded.url, timeout=60) as several, ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda body: post(several, body, format="mask"), bodies))
    assert all(response.status_code in {400, 413, 415} for response in responses[:40])
    assert [response.status_code for response in responses[40:]] == [200, 200]
    assert (mask_of(http, IMAGE) == expected).all()


def peak_rise(server: Server, http: httpx.Client, body: bytes, status: int) -> int:
    """Megabytes by which the server's memory rose, at its highest, while it answered."""
    proc = Path(f"/proc/{server.process.pid}")

    def kilobytes(field: str) -> int:
        found = re.search(rf"{field}:\s+(\d+) kB", (proc / "status").read_text())
        assert found
        return int(found[1])

    (proc / "clear_refs").write_text("5")  # forget the peak so far
    before = kilobytes("VmRSS")
    assert post(http, body).status_code == status
    return (kilobytes("VmHWM") - before) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_the_measure_of_memory_sees_an_image_that_is_decoded(guarded: Server, http: httpx.Client) -> None:
    assert peak_rise(guarded, http, png((4000, 4000)), 200) > 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a PNG of 169 megapixels in 20 KB", huge_png()),
        ("a WebP of 169 megapixels in 32 bytes", webp(13_000, 13_000)),
        ("a TIFF whose tile has 67 megapixels", tile_bomb(TILE)),
        ("a PNG of one row of 67 megapixels", ONE_ROW),
    ],
)
def test_an_image_too_large_is_413_and_costs_no_memory(name: str, body: bytes, guarded: Server, http: httpx.Client) -> None:
    assert len(body) < MAX_UPLOAD_BYTES, name
    post(http, IMAGE)
    assert peak_rise(guarded, http, body, 413) < 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_metadata_costs_no_memory(name: str, guarded: Server, http: httpx.Client) -> None:
    body = png((4, 4), before=BOMBS[name], after=BOMBS[name])
    assert peak_rise(guarded, http, body, 400) < 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_many_texts_cost_no_memory(guarded: Server, http: httpx.Client) -> None:
    """Unpacked, each takes four bytes for each of its million characters."""
    packed = zlib.compress(("a" * ((1 << 20) - 4) + "\N{GRINNING FACE}").encode())
    texts = b"".join(chunk(b"iTXt", b"%d\0\1\0\0\0" % number + packed) for number in range(60))
    assert peak_rise(guarded, http, png((4, 4), before=texts), 400) < 50
    assert peak_rise(guarded, http, png((4, 4), after=texts), 400) < 50


def test_many_profiles_after_the_pixels_are_refused_in_time(http: httpx.Client) -> None:
    profiles = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)) * 900
    assert_problem(post(http, png((1, 1), after=profiles)), 400, "packed")


@pytest.fixture
def line(guarded: Server) -> Iterator[Line]:
    """A bare connection to the server."""
    url = httpx.URL(guarded.url)
    line = Line((url.host, url.port or 80))
    yield line
    line.close()


def test_a_body_refused_by_its_declared_length_is_not_waited_for(line: Line) -> None:
    line.send(head(f"Content-Length: {MAX_UPLOAD_BYTES + 1}"))
    assert line.response().status_code == 413


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_long(line: Line) -> None:
    line.send(head("Transfer-Encoding: chunked") + b"%x\r\n" % (1 << 40) + bytes(MAX_UPLOAD_BYTES + 1))
    assert line.response().status_code == 413


@pytest.mark.parametrize("close", [(), ("Connection: close",)], ids=["keep alive", "close"])
def test_a_client_that_sends_all_before_it_reads_is_told_what_was_too_long(close: tuple[str, ...], line: Line) -> None:
    length = 20 * MAX_UPLOAD_BYTES  # more than the kernel takes on its own
    line.send(head(f"Content-Length: {length}", *close))
    for _ in range(20):
        line.send(bytes(MAX_UPLOAD_BYTES))
    assert_problem(line.response(), 413, limit=MAX_UPLOAD_BYTES)
    if close:
        assert line.is_closed()


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: -5",),
        ("Transfer-Encoding: gzip, identity", "Content-Length: 0"),
        ("Content-Length: 5\0",),
        ("X" * 100_000 + ": y",),
    ],
    ids=["two lengths", "length and chunks", "negative length", "odd coding", "nul", "long name"],
)
def test_ambiguous_and_broken_heads_are_refused(headers: tuple[str, ...], line: Line) -> None:
    line.send(head(*headers) + b"0\r\n\r\n")
    assert 400 <= line.response().status_code < 500


def test_rubbish_instead_of_a_request_is_refused(line: Line, http: httpx.Client) -> None:
    line.send(b"\x16\x03\x01\x02\x00\x01\x00 this is TLS\r\n\r\n")
    assert line.response().status_code == 400
    assert http.get("/livez").status_code == 200


def test_a_header_cannot_be_smuggled_through_a_name(http: httpx.Client) -> None:
    response = http.post("/segment", params={"model": "x\r\nSet-Cookie: a=b"}, content=IMAGE)
    assert_problem(response, 404, "Set-Cookie")
    assert "set-cookie" not in response.headers
