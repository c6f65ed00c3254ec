"""Finding the model files in a folder and all folders below it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.inference.files.model_file import Stamp, stamp

MAX_LEVELS = 100  # of folders below the models folder: some versions of os.walk call themselves for each level


@dataclass(frozen=True)
class Scan:
    """What was found below a folder at one time."""

    files: Mapping[Path, Stamp]  # model files
    unreachable: Mapping[Path, str]  # files, folders and links that could not be reached, and why


def scan(folder: Path, before: Scan) -> Scan:
    """Find all model files below a folder. Hidden ones are skipped, and symbolic links followed.

    A file that cannot be reached, itself or in a folder that cannot be listed, is taken to be as it was in the scan `before`.
    """
    unreachable: dict[Path, str] = {}

    def note(error: OSError) -> None:
        unreachable[Path(error.filename)] = f"it cannot be listed: {error.strerror}"

    listed: list[Path] = []
    real: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=note, followlinks=True):
        target = os.path.realpath(parent)
        if target in real:  # seen before: links can form loops
            folders.clear()
            continue
        real.add(target)
        if len(Path(parent).relative_to(folder).parts) > MAX_LEVELS:
            unreachable[Path(parent)] = f"it cannot be listed: it lies more than {MAX_LEVELS} folders deep"
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        listed += [Path(parent) / name for name in (*folders, *names)]  # a folder named like a model is reported too
    files: dict[Path, Stamp] = {}
    for path in sorted(path for path in listed if path.suffix == ".onnx" and not path.name.startswith(".")):
        try:
            found = stamp(path)
        except OSError as error:
            unreachable[path] = f"it cannot be reached: {error.strerror}"
            continue
        if found is not None:
            files[path] = found
        elif path.is_symlink():
            unreachable[path] = "a dangling symbolic link"
    for path, known in before.files.items():
        if not unreachable.keys().isdisjoint((path, *path.parents)):
            files[path] = known
    return Scan(files, unreachable)
