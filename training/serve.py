"""From a finished run to a running service."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from training.checkpoint import load_checkpoint
from training.data.reader import Reader
from training.errors import InputError
from training.export.card import Measurements
from training.export.files import export, model_file, refuse_stale
from training.run_folder import RunFolder


def require_place(run: RunFolder, name: str) -> None:
    """Raises InputError, before the work begins, if `serve` would replace a model that is not of this run."""
    file = model_file(_models(), name, "fp32")
    if file.exists() and not run.config.exists():
        raise InputError(f"{file} is another model's: give this one another --name, or remove that one")
    refuse_stale(_models(), name, ())


def serve(run: Path, name: str, validation: Reader) -> NoReturn:
    """Export the run's best model as `name`, measured on `validation`; this process becomes the service that serves it.

    Raises InputError or GateError if the model cannot be exported.
    """
    export(load_checkpoint(run), _models(), name, Measurements(validation, "val"), ())
    print(f"serving {model_file(_models(), name, 'fp32')}", flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "service"], {**os.environ, "SEGMENT_DEFAULT_MODEL": name})


def _models() -> Path:
    """Where the service looks for models."""
    return Path(os.environ.get("SEGMENT_MODELS_DIR", "models"))
