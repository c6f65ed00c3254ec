"""The models in a folder, by name and precision."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.contract import Precision
from service.inference.device import DeviceUnavailable
from service.inference.model import InvalidModel, Model
from service.settings import Device

log = logging.getLogger(__name__)

AUTOMATIC: tuple[Precision, ...] = ("fp32", "int8", "fp16")  # the first one there is


class UnknownModel(LookupError):
    """No such model, or no such variant of it."""


@dataclass(frozen=True)
class Repository:
    """Loaded models."""

    models: Mapping[str, Mapping[Precision, Model]]

    @classmethod
    def load(cls, folder: Path, device: Device) -> "Repository":
        """Load every `*.onnx` below `folder`. A file that is no valid model is logged and left out.

        Raises DeviceUnavailable if `device` cannot be had.
        """
        models: dict[str, dict[Precision, Model]] = {}
        for path in sorted(folder.rglob("*.onnx")):
            try:
                model = Model.load(path, device)
            except InvalidModel as error:
                log.error("left out: %s", error)
                continue
            variants = models.setdefault(model.card.name, {})
            if model.card.precision in variants:
                log.error("left out: %s: there is already a %s of %s", path, model.card.precision, model.card.name)
                continue
            variants[model.card.precision] = model
            log.info("serving %s (%s) on %s", model.card.name, model.card.precision, model.device)
        if device == "cuda" and not models:
            raise DeviceUnavailable(f"SEGMENT_DEVICE=cuda, but {folder} has no model that could show CUDA in use")
        return cls(models)

    def get(self, name: str, precision: Precision | None = None) -> Model:
        """The variant asked for, or the automatic one. Raises UnknownModel."""
        variants = self.variants(name)
        for candidate in AUTOMATIC if precision is None else (precision,):
            if candidate in variants:
                return variants[candidate]
        raise UnknownModel(f"model {name!r} has no variant {precision!r}; it has {', '.join(variants)}")

    def variants(self, name: str) -> Mapping[Precision, Model]:
        """Every variant of a model. Raises UnknownModel."""
        if name not in self.models:
            raise UnknownModel(f"no model {name!r}; there is {', '.join(self.models) or 'none'}")
        return self.models[name]
