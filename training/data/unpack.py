"""Unpacks untrusted archives: regular files only, below one folder, no more bytes than announced."""

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from training.errors import InputError

CHUNK = 1 << 20  # bytes


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...], strip: int, limit: int) -> int:
    """Write the regular files below the paths `wanted` into `folder`, without the first `strip` parts of their names.

    `archive` is a tar, also compressed, or a zip, recognised by its content. Links, devices, owners and permissions are
    ignored. Returns the number of files. Raises InputError for a damaged archive, for one without any wanted file, for a
    name that leads out of `folder`, and as soon as more than `limit` bytes have been unpacked.
    """
    files = written = 0
    try:
        for name, content in _members(archive):
            if not any(PurePosixPath(name).is_relative_to(path) for path in wanted):
                continue
            target = folder.joinpath(*_inner(archive, name)[strip:])
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                while chunk := content.read(CHUNK):
                    written += len(chunk)
                    if written > limit:
                        raise InputError(
                            f"{archive} unpacks to more than {limit} bytes: it is not the data set that was published"
                        )
                    file.write(chunk)
            files += 1
    except InputError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, RuntimeError) as error:
        raise InputError(f"{archive} is damaged: {error}") from error
    if not files:
        raise InputError(f"{archive} holds none of {', '.join(wanted)}")
    return files


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the regular files, in the archive's order."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if not entry.is_dir():
                    yield entry.filename, zipped.open(entry)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content


def _inner(archive: Path, name: str) -> tuple[str, ...]:
    """The parts of a relative path. Raises InputError if it leads out of its folder on any operating system."""
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or any(part == ".." or "\\" in part or ":" in part for part in parts):
        raise InputError(f"{archive} holds {name!r}, a path that leads out of it")
    return parts
