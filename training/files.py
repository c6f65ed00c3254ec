"""Files that are whole or absent, whatever kills the writer; weights among them, as safetensors."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.errors import InputError
from training.safetensors_format import serialise

PARTIAL = ".partial"  # how the name of a file ends that is being written


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file beside `path`, flush it to the disk, then rename it to `path`: a reader sees the old file or the new one.

    Of two processes that write it at once, the later one wins; one that is killed leaves its part, NAME.PID.partial. An
    OSError names the file, which the system does not do where the disk is full.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)  # on a full disk, it would take up the remaining space
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)
        raise


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Atomically write tensors and string metadata as safetensors; at most one tensor at a time is copied in memory."""
    write_atomically(path, serialise(tensors, metadata))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, on the CPU, and metadata of a safetensors file.

    Raises FileNotFoundError, or InputError if the file is broken or no safetensors file.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no mapping)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors. Raises as `load_weights` does."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:  # safetensors has no types here
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except SafetensorError as error:
        raise InputError(f"{path} is no readable safetensors file: {error}") from error
