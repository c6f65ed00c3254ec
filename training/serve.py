"""From a finished run to a running service."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from training.checkpoint import load_checkpoint
from training.data.reader import Reader
from training.export.card import Measurements
from training.export.files import export


def serve(run: Path, name: str, validation: Reader) -> NoReturn:
    """Export the run's best model as `name`, measured on `validation`; this process becomes the service that serves it.

    Raises InputError or GateError if the model cannot be exported.
    """
    models = Path(os.environ.get("SEGMENT_MODELS_DIR", "models"))
    export(load_checkpoint(run), models, name, Measurements(validation, "val"), ())
    print(f"serving {models / name}.onnx", flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "service"], {**os.environ, "SEGMENT_DEFAULT_MODEL": name})
