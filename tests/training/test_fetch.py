"""Downloads, from a server on this machine that behaves and one that does not."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from training.errors import InputError
from training.fetch import cache_folder, fetch, local_file

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What it does, and what it was asked for."""

    url: str = ""
    breaks_after: list[int] = field(default_factory=list)  # bytes that the next answers stop after
    knows_ranges: bool = True
    heeds_if_range: bool = True
    content: bytes = CONTENT
    version: dict[str, str] = field(default_factory=dict)  # headers that name it
    changes_to: list[bytes] = field(default_factory=list)  # contents that the file has after the next answers
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            state.ranges.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            same = self.headers["If-Range"] in (None, *state.version.values()) or not state.heeds_if_range
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.knows_ranges and same else 0
            content = state.content
            self.send_response(206 if 0 < start < len(content) else 416 if start else 200)
            if start:
                span = f"{start}-{len(content) - 1}" if start < len(content) else "*"
                self.send_header("Content-Range", f"bytes {span}/{len(content)}")
            for name, value in state.version.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(max(0, len(content) - start)))
            self.end_headers()
            stop = start + state.breaks_after.pop(0) if state.breaks_after else None
            self.wfile.write(content[start:stop])
            if state.changes_to:
                state.content = state.changes_to.pop(0)
                state.version = {name: f'"{hashlib.sha256(state.content).hexdigest()}"' for name in state.version}

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/weights.bin"
        yield state
        running.shutdown()


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetch(server.url, tmp_path / "new" / "file", SHA256).read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [100_000, 50_000]
    assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_what_an_earlier_run_left_is_used(server: Server, tmp_path: Path, knows_ranges: bool) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT[:1234])
    server.knows_ranges = knows_ranges
    assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"]


def test_a_complete_partial_file_needs_nothing_more(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT


def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SHA-256"):
        fetch(server.url, tmp_path / "file", "0" * 64)
    assert not (tmp_path / "file").exists()
    (tmp_path / "file.partial").write_bytes(b"something else")
    with pytest.raises(InputError, match="SHA-256"):
        fetch(server.url, tmp_path / "file", SHA256)
    assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT


def test_a_changed_file_in_the_cache_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        fetch(server.url, tmp_path / "file", SHA256)


def test_a_file_that_is_not_there_is_an_input_error_at_once(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(InputError, match="404"):
        fetch(server.url, tmp_path / "file", SHA256)
    assert len(server.ranges) == 1


def test_urls_carry_their_checksum(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = local_file(f"{server.url}#sha256={SHA256.upper()}", {})
    assert path.read_bytes() == CONTENT
    assert path.parent == cache_folder() == tmp_path / "fcn-training"
    assert local_file(server.url, {server.url: SHA256}) == path
    with pytest.raises(InputError, match="append #sha256="):
        local_file(server.url, {})


def test_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"any")
    assert local_file(str(tmp_path / "file"), {}) == tmp_path / "file"
    with pytest.raises(InputError, match="no such file"):
        local_file(str(tmp_path / "other"), {})


@pytest.mark.parametrize("version", [{"ETag": '"first"'}, {"Last-Modified": "Mon, 14 May 2012 10:00:00 GMT"}])
@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_part_of_one_file_is_never_completed_with_another(
    server: Server, tmp_path: Path, version: dict[str, str], heeds_if_range: bool
) -> None:
    server.version, server.heeds_if_range = version, heeds_if_range
    server.content, server.changes_to, server.breaks_after = bytes(len(CONTENT)), [CONTENT], [100_000]
    assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(bytes(len(CONTENT) + 1))
    assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT


def test_an_unchanged_file_is_continued_by_its_version(server: Server, tmp_path: Path) -> None:
    server.version, server.breaks_after = {"ETag": '"first"'}, [100_000]
    assert fetch(server.url, tmp_path / "file", SHA256).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_other_digests_are_checked_too(server: Server, tmp_path: Path) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert fetch(server.url, tmp_path / "file", md5, "md5").read_bytes() == CONTENT
    with pytest.raises(InputError, match="its MD5 is"):
        fetch(server.url, tmp_path / "other", "0" * 32, "md5")
    assert fetch(server.url, tmp_path / "unknown", None).read_bytes() == CONTENT


def test_a_full_disk_is_told_before_it_is_full(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=len(CONTENT) - 1))
    with pytest.raises(InputError, match=f"needs {len(CONTENT)} bytes, {len(CONTENT) - 1} are free"):
        fetch(server.url, tmp_path / "file", SHA256)
