"""Exports a finished run and starts the service on the exported model."""

import errno
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import TypeAdapter

from service.contract import MODEL_NAME_PATTERN, VARIANTS, ModelCard
from training.checkpoint import load_checkpoint
from training.data.dataset import DataCard
from training.data.reader import Reader
from training.errors import InputError
from training.export.card import Measurements
from training.export.files import export, model_file, refuse_stale
from training.onnx_model import load_onnx


@dataclass(frozen=True)
class Place:
    """Where the service that `serve` starts will listen, and the folder in which it looks for models."""

    host: str
    port: int  # 0: any that is free
    models_dir: Path


def find_place() -> Place:
    """The place that the service's own settings name. Raises InputError, before training begins, if it refuses a setting.

    The service is asked as a program: training does not import its settings.
    """
    ended = subprocess.run([sys.executable, "-m", "service.settings"], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise InputError(f"the service could not start: {(ended.stderr.splitlines() or ['it does not say why'])[-1]}")
    return TypeAdapter(Place).validate_json(ended.stdout)


def require_name(name: str, data: DataCard, models: Path) -> None:
    """Raises InputError, before training begins, if `serve` must not export a model of `data` as `name` to the folder `models`.

    That is so if `name` is no valid model name, if a model of other data, of other classes or in another folder has the name,
    or if the older model that would be replaced has variants or a page, which would become stale.
    """
    if not re.fullmatch(MODEL_NAME_PATTERN, name):
        raise InputError(f"{name!r} is no name for a model: lower-case letters, digits and hyphens; give one with --name")
    remedy = "give this one another --name, or remove that one"
    places = {model_file(models, name, precision) for precision in ("fp32", *VARIANTS)}
    for file in sorted(models.rglob("*.onnx")):
        card = _card_of(file)
        if file not in places and (card is None or card.name != name):
            continue
        if file not in places or card is None or _source(card.dataset) != _source(data.description):
            raise InputError(f"{file} is another model's of that name: {remedy}")
        names = [entry.name for entry in card.classes]
        if names != [entry.name for entry in data.classes]:
            raise InputError(f"{file} is a model's of that name with other classes ({', '.join(names)}): {remedy}")
    refuse_stale(models, name, (), page=False)


def require_port(place: Place) -> None:
    """Raises InputError, before training begins, if the service that `serve` starts could not listen at `place`."""
    host, port = place.host, place.port
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


def serve(run: Path, name: str, validation: Reader, models: Path) -> NoReturn:
    """Export the run's best model as `name` to the folder `models`, measured on `validation`; then become the service.

    Raises InputError or GateError if the model cannot be exported.
    """
    export(load_checkpoint(run), models, name, Measurements(validation, "val"), ())
    print(f"serving {model_file(models, name, 'fp32')}", flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "service"], {**os.environ, "SEGMENT_DEFAULT_MODEL": name})
