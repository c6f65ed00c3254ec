"""Exports a finished run and starts the service on the exported model."""

import errno
import os
import re
import socket
import sys
from pathlib import Path
from typing import NoReturn

from service.contract import MODEL_NAME_PATTERN, VARIANTS, ModelCard
from training.checkpoint import load_checkpoint
from training.data.reader import Reader
from training.errors import InputError
from training.export.card import Measurements
from training.export.files import export, model_file, refuse_stale
from training.onnx_model import load_onnx


def require_place(name: str, data: str) -> None:
    """Raises InputError, before training begins, if `serve` must not export a model as `name`, trained on data like `data`.

    That is so if `name` is no valid model name, if a model of other data or in another folder has the name, or if the older
    model that would be replaced has variants, which would become stale.
    """
    if not re.fullmatch(MODEL_NAME_PATTERN, name):
        raise InputError(f"{name!r} is no name for a model: lower-case letters, digits and hyphens; give one with --name")
    places = {model_file(_models(), name, precision) for precision in ("fp32", *VARIANTS)}
    for file in sorted(_models().rglob("*.onnx")):
        card = _card_of(file)
        is_older = file in places and card is not None and _source(card.dataset) == _source(data)
        is_of_that_name = file in places or (card is not None and card.name == name)
        if is_of_that_name and not is_older:
            raise InputError(f"{file} is another model's of that name: give this one another --name, or remove that one")
    refuse_stale(_models(), name, ())


def require_port() -> None:
    """Raises InputError, before training begins, if the service that `serve` starts could not listen where its settings say."""
    host, port = os.environ.get("SEGMENT_HOST", "127.0.0.1"), os.environ.get("SEGMENT_PORT", "8000")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as trial:  # as Uvicorn's; it does not listen, so several may try at once
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is taken: stop what listens there, or set SEGMENT_PORT") from error
        raise InputError(
            f"the service cannot listen on {host}, port {port} (SEGMENT_HOST, SEGMENT_PORT): {error.strerror}"
        ) from error


def _card_of(model: Path) -> ModelCard | None:
    try:
        return load_onnx(model).card
    except InputError:  # not a model of this trainer
        return None


def _source(description: str) -> str:
    """The part of a data set's description that says where the data come from, without the counts after it."""
    return description.split(";", maxsplit=1)[0]


def serve(run: Path, name: str, validation: Reader) -> NoReturn:
    """Export the run's best model as `name`, measured on `validation`; then this process becomes the service.

    Raises InputError or GateError if the model cannot be exported.
    """
    export(load_checkpoint(run), _models(), name, Measurements(validation, "val"), ())
    print(f"serving {model_file(_models(), name, 'fp32')}", flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "service"], {**os.environ, "SEGMENT_DEFAULT_MODEL": name})


def _models() -> Path:
    """The folder in which the service looks for models."""
    return Path(os.environ.get("SEGMENT_MODELS_DIR", "models"))
