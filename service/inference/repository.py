"""The models in a folder, by name and precision; what changes there is taken over while the service runs."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.contract import ModelCard, Precision
from service.inference.cancellation import OutOfDeviceMemory
from service.inference.device import DeviceUnavailable, ReportedDevice, may_use_cuda
from service.inference.model import Model
from service.inference.model_file import InvalidModel, ModelFile, Stamp, stamp
from service.inference.variants import by_preference
from service.settings import Device

FAILURES = 3  # for want of memory, one after the other, until the service is not ready

log = logging.getLogger(__name__)


class UnknownModel(LookupError):
    """No such model, or no such variant of it."""


class Variant:
    """A file, and the model in it once someone has needed it. Requests that hold it keep it until they are answered."""

    def __init__(self, file: ModelFile, stamp: Stamp, device: Device) -> None:
        self.file, self.stamp, self._device = file, stamp, device
        self._lock = threading.Lock()
        self._loaded: Model | InvalidModel | None = None
        self._failures = 0

    @property
    def is_failing(self) -> bool:
        """Whether its last requests all ran out of the device's memory, though its session was opened anew each time."""
        return self._failures >= FAILURES

    @property
    def card(self) -> ModelCard:
        """What the file says of itself."""
        return self.file.card

    def model(self) -> Model:
        """Load it, once. Raises what `Model.load` does."""
        with self._lock:
            if self._loaded is None:
                try:
                    self._loaded = Model.load(self.file, self._device)
                except InvalidModel as error:
                    self._loaded = error
            if isinstance(self._loaded, InvalidModel):
                raise self._loaded
            return self._loaded

    def succeeded(self) -> None:
        """A request was answered."""
        self._failures = 0

    def ran_out_of_memory(self) -> None:
        """A request was not, for want of memory: the next one opens a session anew, whose arenas are empty."""
        with self._lock:
            self._failures += 1
            self._loaded = None


@dataclass(frozen=True)
class Served:
    """A model: its files, and the one that answers when none is asked for, which is loaded."""

    variants: Mapping[Precision, Variant]
    automatic: Precision
    device: ReportedDevice


class Repository:
    """The models below a folder. `refresh` from one thread at a time; the rest from any."""

    def __init__(self, folder: Path, device: Device) -> None:
        """Load what is there. Raises DeviceUnavailable if `device` cannot be had."""
        self._folder, self._device = folder, device
        self._seen: dict[Path, Stamp] = {}  # at the last look
        self._files: dict[Path, Variant] = {}  # that are served
        self._rejected: dict[Path, tuple[Stamp, str]] = {}
        self.models: Mapping[str, Served] = {}  # replaced as a whole, never changed
        self.broken: Mapping[str, str] = {}  # path below the folder -> why it is not served
        self.refresh(start=True)
        if device == "cuda" and not self.models:
            raise DeviceUnavailable(f"SEGMENT_DEVICE=cuda, but {folder} has no model that could show CUDA in use")

    def get(self, name: str, precision: Precision | None = None) -> Variant:
        """The variant asked for, or the automatic one. Raises UnknownModel."""
        served = self.served(name)
        wanted = precision or served.automatic
        if wanted not in served.variants:
            raise UnknownModel(f"model {name!r} has no variant {precision!r}; it has {', '.join(served.variants)}")
        return served.variants[wanted]

    @property
    def failing(self) -> list[str]:
        """Models that are loaded and cannot be run just now."""
        return [name for name, served in self.models.items() if served.variants[served.automatic].is_failing]

    def served(self, name: str) -> Served:
        """A model. Raises UnknownModel."""
        models = self.models
        if name not in models:
            raise UnknownModel(f"no model {name!r}; there is {', '.join(models) or 'none'}")
        return models[name]

    def refresh(self, start: bool = False) -> None:
        """Take over what has changed in the folder; but for the start, only what is as it was at the last look.

        A file takes traffic once it has answered a test image: at the start that is asked of the automatic variants alone,
        of the others when they are needed. A file that is no valid model is named in `broken`, and what it held before
        stays in service. Raises DeviceUnavailable as `Model.load` does.
        """
        found = {path: now for path in sorted(self._folder.rglob("*.onnx")) if (now := stamp(path)) is not None}
        by_name: dict[str, list[Variant]] = {}
        for path, now in found.items():
            if (variant := self._variant(path, now, start)) is not None:
                by_name.setdefault(variant.card.name, []).append(variant)
        models = {name: served for name, variants in by_name.items() if (served := self._serve(variants)) is not None}
        self._seen = found
        self._files = {variant.file.path: variant for served in models.values() for variant in served.variants.values()}
        self._rejected = {path: entry for path, entry in self._rejected.items() if path in found}
        doubles = {
            self._name(variant.file.path): f"there is already a {variant.card.precision} of {variant.card.name}"
            for variants in by_name.values()
            for variant in variants
            if variant.file.path not in self._files and variant.file.path not in self._rejected
        }
        broken = {self._name(path): reason for path, (_, reason) in self._rejected.items()} | doubles
        self._tell(models, broken)
        self.models, self.broken = models, broken

    def _variant(self, path: Path, now: Stamp, start: bool) -> Variant | None:
        """What to serve of a file: what it is now, if it is whole and runs, else what it was."""
        known = self._files.get(path)
        is_judged = (known and known.stamp == now) or (path in self._rejected and self._rejected[path][0] == now)
        is_being_written = self._seen.get(path) != now and not start
        if is_judged or is_being_written:
            return known
        self._rejected.pop(path, None)
        try:
            fresh = Variant(ModelFile.read(path), now, self._device)
            if not start:
                fresh.model()
        except (InvalidModel, OutOfDeviceMemory) as error:
            self._rejected[path] = now, str(error)
            return known
        return fresh

    def _serve(self, candidates: Sequence[Variant]) -> Served | None:
        """Those of a model that are left when the best of them runs, of two of a precision the first; None if none does."""
        left = list(candidates)
        devices: tuple[ReportedDevice, ...] = ("cuda", "cpu") if may_use_cuda(self._device) else ("cpu",)
        while left:
            variants = {variant.card.precision: variant for variant in reversed(left)}
            for device in devices:
                best, *_ = by_preference({precision: variant.card for precision, variant in variants.items()}, device)
                try:
                    runs_on = variants[best].model().device
                except (InvalidModel, OutOfDeviceMemory) as error:
                    self._rejected[variants[best].file.path] = variants[best].stamp, str(error)
                    left.remove(variants[best])
                    break
                if runs_on == device or device == devices[-1]:
                    return Served(variants, best, runs_on)
        return None

    def _tell(self, models: Mapping[str, Served], broken: Mapping[str, str]) -> None:
        """Log what is served now and was not, and the other way round."""
        for file, reason in broken.items():
            if self.broken.get(file) != reason:
                log.error("left out: %s: %s", file, reason)
        for name, served in models.items():
            before = self.models.get(name)
            now = served.variants[served.automatic].file.sha256
            if before is None or before.variants[before.automatic].file.sha256 != now:
                log.info("serving %s (%s, sha256 %s) on %s", name, served.automatic, now, served.device)
        for name in self.models.keys() - models.keys():
            log.info("no longer serving %s", name)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()
