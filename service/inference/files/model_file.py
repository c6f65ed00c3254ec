"""A model file in the models folder: read and checked, but not loaded into a session."""

import errno
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

MAX_FILE_BYTES = 1 << 30  # twice the largest network of this kind; the file and its parsed form are in memory at once
MAX_CARD_BYTES = 1_000_000  # the shipped cards have 4,000; to parse one takes up to a hundred times its size
WHOLE_BYTES = 1 << 30  # limit for a run of a model that cannot be tiled: enough for 1920x1080 with 21 scores per pixel
UNKNOWN_BYTES_PER_PIXEL = 250  # activations of a network whose layers are not known: more than most networks take
SCORE_COPIES = 3  # copies of the scores in memory while they are enlarged

NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
Stamp = tuple[tuple[int, int, int], ...]  # of the file and of a card beside it: inode, bytes, time of the last change in ns


class InvalidModel(ValueError):
    """A file that does not meet this service's contract for models."""


class UnreadableModel(RuntimeError):
    """A file that cannot be read just now."""


class _Opened:
    """An open file, readable even after its path is deleted or replaced; closed when this object is garbage-collected."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        """Raises InvalidModel if `path` is no regular file or is too large, and UnreadableModel if it cannot be opened."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # opening a pipe would block
                raise InvalidModel("it is no regular file")
            if found.st_size > most_bytes:
                raise InvalidModel(f"it has {found.st_size} bytes, the limit is {most_bytes}")
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise _unreadable(error) from error
        weakref.finalize(self, os.close, self._descriptor)

    def content(self) -> bytes:
        """The whole content. Raises UnreadableModel if reading fails or memory is short."""
        try:
            with os.fdopen(self._descriptor, "rb", closefd=False) as file:
                file.seek(0)
                return file.read()
        except MemoryError as error:
            raise _short_of_memory() from error
        except OSError as error:
            raise _unreadable(error) from error


def _short_of_memory() -> UnreadableModel:
    return UnreadableModel("not enough memory to read it; that is tried again")


def _unreadable(error: OSError) -> UnreadableModel:
    return UnreadableModel(f"it cannot be read: {error.strerror}; that is tried again")


@dataclass(frozen=True)
class ModelFile:
    """A checked model file, with the card and the interface read from it."""

    path: Path
    sha256: str
    card: ModelCard
    interface: Interface
    _opened: _Opened = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Read and check a file.

        Raises UnreadableModel, and InvalidModel if the file is too large, is not a self-contained ONNX file, has no valid card,
        or takes only images that are too large to run whole.
        """
        opened = _Opened(path, MAX_FILE_BYTES)
        content = opened.content()
        try:
            graph = OnnxFile(content)
            graph.require_self_contained()
        except (DecodeError, UnsafeFile) as error:
            raise InvalidModel(f"it is no ONNX file that is served: {error}") from error
        except MemoryError as error:
            raise _short_of_memory() from error
        card, interface = _card(path, graph)
        size = interface.fixed_size
        if size is not None and prod(size) > (most := _most_whole_pixels(card)):
            raise InvalidModel(f"the graph takes {size[0]}x{size[1]} alone; without a halo the limit is {most} pixels")
        return cls(path, hashlib.sha256(content).hexdigest(), card, interface, opened)

    @property
    def is_foreign(self) -> bool:
        """Whether another exporter made it, so that it may hold any graph."""
        return isinstance(self.interface, ForeignInterface)

    @property
    def most_pixels(self) -> int | None:
        """The most pixels, at the working size with padding, of an image that the model can run; None: any number, in tiles."""
        if self.interface.fixed_size is not None:
            return prod(self.interface.fixed_size)
        return None if self.card.halo is not None else _most_whole_pixels(self.card)

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether the model can run an image of that working size (width, height), whole or in tiles."""
        if self.interface.working_size(*size, None) != size:  # larger than the graph's fixed size
            return False
        return self.most_pixels is None or prod(self.interface.padded_size(*size, self.card.stride)) <= self.most_pixels

    def content(self) -> bytes:
        """The file's bytes, even if another file has replaced it at its path.

        Raises InvalidModel if the file was written to after `read`, and UnreadableModel.
        """
        content = self._opened.content()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise InvalidModel("it was written to since it was found")
        return content


def stamp(path: Path) -> Stamp | None:
    """A value that changes when the model file or its card changes; None if there is no model file.

    Raises OSError if that cannot be told, for example in a folder that is closed to this process.
    """
    if (file := _stat(path)) is None:
        return None
    try:
        card = _stat(_beside(path))
    except OSError:  # reading it tells why, if it is needed
        card = None
    return tuple((found.st_ino, found.st_size, found.st_mtime_ns) for found in (file, card) if found is not None)


def _stat(path: Path) -> os.stat_result | None:
    """None if there is no such file, or only a link that leads nowhere. Raises OSError if that cannot be told."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise


def _exists(path: Path) -> bool:
    """Raises UnreadableModel if that cannot be told."""
    try:
        return _stat(path) is not None
    except OSError as error:
        raise _unreadable(error) from error


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _most_whole_pixels(card: ModelCard) -> int:
    return int(WHOLE_BYTES / unknown_bytes_per_pixel(card))


def unknown_bytes_per_pixel(card: ModelCard) -> float:
    """Estimated bytes of memory that a run takes per image pixel, if the network's layers are not known."""
    return UNKNOWN_BYTES_PER_PIXEL + SCORE_COPIES * 4 * len(card.classes) / card.output_stride**2


def _card(path: Path, graph: OnnxFile) -> tuple[ModelCard, Interface]:
    beside = _beside(path)
    source = "the card in it"
    try:
        if (own := graph.metadata.get(METADATA_KEY)) is not None:
            if len(own) > MAX_CARD_BYTES:
                raise ValueError(f"it has {len(own)} characters, the limit is {MAX_CARD_BYTES}")
            return ModelCard.model_validate_json(own), Interface()
        if _exists(beside):
            source = beside.name
            foreign = ForeignCard.model_validate_json(_Opened(beside, MAX_CARD_BYTES).content())
            interface = ForeignInterface(foreign, graph)
            return foreign.card(graph, interface.fixed_size), interface
    except ValidationError as error:
        what = error.errors()[0]
        raise InvalidModel(f"{source} is not valid: {'.'.join(map(str, what['loc']))}: {what['msg']}") from error
    except ValueError as error:
        raise InvalidModel(f"{source} is not valid: {error}") from error
    raise InvalidModel(f"it has no card: neither metadata {METADATA_KEY!r} nor {beside.name} beside it")
