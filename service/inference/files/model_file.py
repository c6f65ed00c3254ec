"""A model file as it lies in its folder: read and checked, not loaded."""

import hashlib
import os
import stat
import weakref
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from google.protobuf.message import DecodeError
from pydantic import ValidationError

from service.contract import METADATA_KEY, ModelCard
from service.inference.files.foreign import ForeignCard, ForeignInterface
from service.inference.files.interface import Interface
from service.inference.files.onnx_file import OnnxFile, UnsafeFile

MAX_FILE_BYTES = 1 << 30  # twice the largest network's of this kind: the file and what is parsed of it are in memory at once
WHOLE_BYTES = 1 << 30  # that the run of a model that cannot be tiled may take: 1920x1080 with 21 scores for each pixel
UNKNOWN_BYTES_PER_PIXEL = 250  # of a network's activations, where its layers are not known: more than most networks take
SCORE_COPIES = 3  # of its scores, while they are enlarged

Stamp = tuple[tuple[int, int, int], ...]  # of the file and of a card beside it: inode, bytes, time of the last change


class InvalidModel(ValueError):
    """A file that is not a model of this service's contract."""


class UnreadableModel(RuntimeError):
    """A file that cannot be read just now."""


class _Opened:
    """A file, which is still what it was when it is deleted, or another takes its place; it is closed with this object."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidModel for what is no file of a model's size, and UnreadableModel."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
                raise InvalidModel("it is no regular file")
            if found.st_size > MAX_FILE_BYTES:
                raise InvalidModel(f"it has {found.st_size} bytes, the limit is {MAX_FILE_BYTES}")
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise _unreadable(error) from error
        weakref.finalize(self, os.close, self._descriptor)

    def content(self) -> bytes:
        """All of it. Raises UnreadableModel."""
        try:
            with os.fdopen(self._descriptor, "rb", closefd=False) as file:
                file.seek(0)
                return file.read()
        except MemoryError as error:
            raise UnreadableModel("not enough memory to read it; that is tried again") from error
        except OSError as error:
            raise _unreadable(error) from error


def _unreadable(error: OSError) -> UnreadableModel:
    return UnreadableModel(f"it cannot be read: {error.strerror}; that is tried again")


@dataclass(frozen=True)
class ModelFile:
    """What a file says of itself."""

    path: Path
    sha256: str
    card: ModelCard
    interface: Interface
    _opened: _Opened = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Raises InvalidModel if the file needs more than itself, or has no valid card, and UnreadableModel."""
        opened = _Opened(path)
        content = opened.content()
        try:
            graph = OnnxFile(content)
            graph.require_self_contained()
        except (DecodeError, UnsafeFile) as error:
            raise InvalidModel(f"it is no ONNX file that is served: {error}") from error
        card, interface = _card(path, graph)
        size = interface.fixed_size
        if size is not None and prod(size) > (most := _most_whole_pixels(card)):
            raise InvalidModel(f"the graph takes {size[0]}x{size[1]} alone; without a halo the limit is {most} pixels")
        return cls(path, hashlib.sha256(content).hexdigest(), card, interface, opened)

    @property
    def most_pixels(self) -> int | None:
        """Of an image at its working size, with padding, that the model can run; null: any number, in tiles."""
        if self.interface.fixed_size is not None:
            return prod(self.interface.fixed_size)
        return None if self.card.halo is not None else _most_whole_pixels(self.card)

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether the model can run an image of that working size (width, height), whole or in tiles."""
        if self.interface.working_size(*size, None) != size:  # larger than the one that the graph takes
            return False
        return self.most_pixels is None or prod(self.interface.padded_size(*size, self.card.stride)) <= self.most_pixels

    def content(self) -> bytes:
        """The file's bytes, also when another file has taken its place by now.

        Raises InvalidModel if it was written to since it was read, and UnreadableModel.
        """
        content = self._opened.content()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise InvalidModel("it was written to since it was found")
        return content


def stamp(path: Path) -> Stamp | None:
    """What changes when the model does; None where there is no file."""
    found = [_stat(path), _stat(_beside(path))]
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in found if s is not None) if found[0] else None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _most_whole_pixels(card: ModelCard) -> int:
    return int(WHOLE_BYTES / unknown_bytes_per_pixel(card))


def unknown_bytes_per_pixel(card: ModelCard) -> float:
    """Of a run, for each pixel of an image, where the network's layers are not known; an estimate."""
    return UNKNOWN_BYTES_PER_PIXEL + SCORE_COPIES * 4 * len(card.classes) / card.output_stride**2


def _card(path: Path, graph: OnnxFile) -> tuple[ModelCard, Interface]:
    beside = _beside(path)
    source = "the card in it"
    try:
        if METADATA_KEY in graph.metadata:
            return ModelCard.model_validate_json(graph.metadata[METADATA_KEY]), Interface()
        if beside.exists():
            source = beside.name
            foreign = ForeignCard.model_validate_json(_Opened(beside).content())
            interface = ForeignInterface(foreign, graph)
            return foreign.card(graph, interface.fixed_size), interface
    except ValidationError as error:
        what = error.errors()[0]
        raise InvalidModel(f"{source} is not valid: {'.'.join(map(str, what['loc']))}: {what['msg']}") from error
    except ValueError as error:
        raise InvalidModel(f"{source} is not valid: {error}") from error
    raise InvalidModel(f"it has no card: neither metadata {METADATA_KEY!r} nor {beside.name} beside it")
