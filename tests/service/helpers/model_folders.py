"""What becomes of a folder of models: files that change, and a repository that looks again."""

import itertools
import json
import os
from pathlib import Path
from typing import cast

from service.inference.models.repository import Repository
from tests.service.helpers.tiny_models import card, network, write_model


def with_card(**changes: object) -> bytes:
    """The model with a card that says something else."""
    return network(json.dumps(card(**changes)))


OTHER_CLASSES = [entry | {"name": f"other {entry['name']}"} for entry in cast(list[dict[str, str]], card()["classes"])]
SECONDS = itertools.count(1)


def changed(folder: Path, **changes: object) -> None:
    """Replace the model, as a person would who copies a new file over it: its time differs, however fast this test is."""
    write_model(folder, **changes)  # type: ignore[arg-type]
    path = folder / "colors.onnx"
    path.touch()
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + next(SECONDS) * 10**9))


def looked_twice(repository: Repository) -> Repository:
    """It takes a file up when it finds it unchanged."""
    repository.refresh()
    repository.refresh()
    return repository
