"""Downloads files: once, resumed after an interruption, and never used unless the checksum is right."""

import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from training.errors import InputError

TIMEOUT_SECONDS = 60  # without receiving a byte
ATTEMPTS = 5  # in a row without a new byte before giving up; received bytes are kept for the next call
WAIT_SECONDS = 1  # before the second attempt; doubled before each further one
BLOCK = 1 << 20
_SHA256_DIGITS = 64


def cache_folder() -> Path:
    """The folder that keeps downloaded weights: `fcn-training` in $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fcn-training"


def local_file(source: str, known: Mapping[str, str]) -> Path:
    """A file named by a path or by an http(s) URL, which is fetched into the cache and checked.

    The SHA-256 for a URL follows it as `#sha256=<64 hex digits>`, or is looked up in `known`. Raises InputError if neither
    gives one, if there is no such file, and as `fetch` does.
    """
    if not source.startswith(("http://", "https://")):
        if not Path(source).is_file():
            raise InputError(f"no such file: {source}")
        return Path(source)
    url, _, given = source.partition("#sha256=")
    sha256 = given.lower() or known.get(url, "")
    if len(sha256) != _SHA256_DIGITS:
        raise InputError(f"{url} needs its checksum: append #sha256=<{_SHA256_DIGITS} hex digits>")
    name = url.split("?")[0].rsplit("/", 1)[1]
    return fetch(url, cache_folder() / f"{sha256[:8]}-{name}", sha256)


def fetch(url: str, target: Path, digest: str | None, algorithm: str = "sha256") -> Path:
    """Download `url` to `target` unless it is there; returns `target`.

    `digest` is the file's digest in hex digits by `algorithm`, one of hashlib's; None: the caller checks the content. An
    interrupted download is kept in `<target>.partial` and continued, in this call and in the next, if the server still has
    the same file. Raises InputError if the server does not provide the file, if the disk has no room for it, or if the
    digest differs; after a failed download, nothing is at `target`.
    """
    if target.exists():
        _check(target, digest, algorithm)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, version = partial_of(target), target.with_name(target.name + ".version")
    with partial.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # processes that train together all ask for the same file
        if target.exists():
            return target
        file.seek(0, os.SEEK_END)
        _download(url, file, version)
        file.flush()
        os.fsync(file.fileno())
        try:
            _check(partial, digest, algorithm)
        except InputError:
            file.truncate(0)  # the next call starts from the beginning
            raise
        partial.replace(target)
        version.unlink(missing_ok=True)
    return target


def partial_of(target: Path) -> Path:
    """The path of the unfinished download of `target`."""
    return target.with_name(target.name + ".partial")


def check_sha256(path: Path, sha256: str) -> None:
    """Raises InputError if the file's SHA-256, in hex digits, is not `sha256`."""
    _check(path, sha256, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """The file's digest in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _check(path: Path, digest: str | None, algorithm: str) -> None:
    if digest is not None and (found := digest_of(path, algorithm)) != digest.lower():
        name = algorithm.upper().replace("SHA", "SHA-")
        raise InputError(f"{path} is not the file that was asked for: its {name} is {found} instead of {digest}")


def _download(url: str, file: BinaryIO, version: Path) -> None:
    failures = 0
    while True:
        size = file.tell()
        try:
            _append(url, file, version)
        except urllib.error.HTTPError as error:
            if error.code in (408, 429) or error.code >= 500:
                reason = f"{error.code} {error.reason}"
            else:
                raise InputError(f"{url} cannot be fetched: {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:  # name not found, no route, no answer, connection lost
            reason = str(error) or type(error).__name__
        else:
            return
        failures = 0 if file.tell() > size else failures + 1
        if failures >= ATTEMPTS:
            raise InputError(f"{url} cannot be fetched ({reason}); {file.tell()} bytes are kept, run again to go on")
        time.sleep(WAIT_SECONDS * 2 ** max(0, failures - 1))


def _append(url: str, file: BinaryIO, version: Path) -> None:
    """Append the missing bytes to `file`, which is open at its end; raises OSError if the server stops in the middle.

    The file `version` keeps the server's identifier of the file's version: parts of different versions are never joined.
    """
    offset = file.tell()
    known = version.read_text() if version.exists() else ""
    headers = {"Range": f"bytes={offset}-", **({"If-Range": known} if known else {})} if offset else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range", f"bytes */{offset}") == f"bytes */{offset}":
            return  # nothing is missing; if the file is wrong, the digest tells
        _empty(file)
        raise ConnectionError("the file has changed") from error
    with response:
        found = _version(response.headers)
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            offset = 0
            _empty(file)
            version.write_text(found)
        part = response.headers.get("Content-Range", f"bytes {offset}-")
        if not part.startswith(f"bytes {offset}-") or (offset and known and found != known):  # some servers ignore If-Range
            _empty(file)
            raise ConnectionError("the file has changed")
        length = response.headers.get("Content-Length")
        total = None if length is None else offset + int(length)
        free = shutil.disk_usage(version.parent).free
        if total is not None and total - offset > free:
            raise InputError(f"{url} needs {total - offset} bytes, {free} are free in {version.parent}")
        with tqdm(total=total, initial=offset, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[1], mininterval=1) as bar:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if total is not None and file.tell() < total:
        raise ConnectionError(f"broken off after {file.tell()} of {total} bytes")


def _version(headers: Message) -> str:
    """The server's identifier of the file's version: a strong ETag, else the date; empty without both (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _empty(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)
