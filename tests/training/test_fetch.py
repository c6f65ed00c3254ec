"""Downloads, from a server on this machine that behaves and one that does not."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.knows_ranges else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            stop = start + state.breaks_after.pop(0) if state.breaks_after else None
            self.wfile.write(CONTENT[start:stop])

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
