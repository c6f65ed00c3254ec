"""The models in a folder, by name and precision, kept up to date with the folder while the service runs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from service.contract import Precision
from service.inference.files.folder import Scan, scan
from service.inference.files.model_file import InvalidModel, ModelFile, Stamp, UnreadableModel
from service.inference.models.preference import by_preference
from service.inference.models.trial import Trials
from service.inference.models.variant import Variant
from service.inference.sessions.device import (
    DeviceUnavailable,
    OpenSession,
    ReportedDevice,
    create_session,
    may_use_cuda,
    require_one_runtime,
)
from service.inference.sessions.errors import OutOfDeviceMemory
from service.settings import Device, Settings

LATER = (OutOfDeviceMemory, UnreadableModel, DeviceUnavailable)  # not the file's fault: loading is tried again
NO_MEMORY = "not enough memory to load it; that is tried again"

log = logging.getLogger(__name__)


class UnknownModel(LookupError):
    """No such model, or no such variant of it."""


@dataclass(frozen=True)
class ServedModel:
    """A model in service: its variants, and the one that is loaded and answers requests that name no precision."""

    variants: Mapping[Precision, Variant]
    preferred: Variant
    first_ran_on: ReportedDevice

    @property
    def device(self) -> ReportedDevice:
        """The device of the preferred variant, as reported by the session that was opened last."""
        # A variant that is no longer served is unloaded and has no `runs_on`, but a request may still hold this object.
        return self.preferred.runs_on or self.first_ran_on


class Repository:
    """The models below a folder. Call `refresh` and `try_again` from one thread; everything else is safe from any thread."""

    def __init__(self, folder: Path, device: Device, gpu_memory_bytes: int | None = None) -> None:
        """Read every file in the folder, and load the preferred variant of each model; others are loaded when first used.

        Raises DeviceUnavailable if `device` is not available.
        """
        self._folder, self._device = folder, device
        self._open_session: OpenSession = partial(create_session, device=device, gpu_memory_bytes=gpu_memory_bytes)
        self._trials = Trials(device, gpu_memory_bytes)
        self._scan = scan(folder, Scan({}, {}))  # the last one
        self._known: dict[Path, Variant] = {}  # all valid files
        self._rejected: dict[Path, tuple[Stamp, str]] = {}  # invalid ones, and why
        self._left_out: dict[Path, str] = {}  # why valid files are not served, or not yet, and what cannot be reached
        self.models: Mapping[str, ServedModel] = {}  # replaced as a whole, never modified
        self._update(self._scan, start=True)
        if device == "cuda" and not self.models:
            raise DeviceUnavailable(f"SEGMENT_DEVICE=cuda, but {folder} has no model that could show CUDA in use")

    def variant(self, name: str, precision: Precision | None = None) -> Variant:
        """The variant of that precision, or the preferred one. Raises UnknownModel."""
        served = self.model(name)
        if precision is None:
            return served.preferred
        if precision not in served.variants:
            raise UnknownModel(f"model {name!r} has no variant {precision!r}; it has {', '.join(served.variants)}")
        return served.variants[precision]

    @property
    def failing(self) -> list[str]:
        """Names of the models whose preferred variant cannot be run at the moment, for lack of memory."""
        return [name for name, served in self.models.items() if served.preferred.is_failing]

    @property
    def broken(self) -> dict[str, str]:
        """Files below the folder that are not served: relative path -> reason."""
        # Copies, because this property is read from other threads than the one that runs `_update`.
        rejected = {path: reason for path, (_, reason) in self._rejected.copy().items()}
        found_later = {path: variant.fault for path, variant in self._known.copy().items() if variant.fault is not None}
        reasons = rejected | found_later | self._left_out
        return {_printable(path.relative_to(self._folder).as_posix()): _printable(reason) for path, reason in reasons.items()}

    def model(self, name: str) -> ServedModel:
        """The model of that name. Raises UnknownModel."""
        models = self.models
        if name not in models:
            raise UnknownModel(f"no model {name!r}; available: {', '.join(models) or 'none'}")
        return models[name]

    def refresh(self) -> None:
        """Bring the models up to date with the folder.

        A new or changed file is read only if it has not changed since the previous call, because it may still be being
        written; it is served once it has answered a test image. An invalid file is listed in `broken`; what was served from it
        before stays in service.
        """
        self._update(scan(self._folder, self._scan))

    def try_again(self) -> None:
        """As `refresh`, but without a look at the folder: only load the files that could not be loaded before."""
        self._update(self._scan)

    def _update(self, now: Scan, start: bool = False) -> None:
        """Serve the files of a scan; `start`: for the first time. Raises DeviceUnavailable, but only with `start`."""
        broken_before = self.broken
        left_out = dict(now.unreachable)
        moved = {variant.stamp: variant for path, variant in self._known.items() if path not in now.files}
        known: dict[Path, Variant] = {}
        for path, stamp in now.files.items():
            found, reason = self._variant(path, stamp, moved.pop(stamp, None), start)
            if found is not None:
                known[path] = found
                if found.stamp == stamp:  # also after a broken file was replaced by the one before it
                    self._rejected.pop(path, None)
            if reason is not None:
                left_out[path] = reason
        by_name: dict[str, list[Variant]] = {}
        for _, variant in sorted(known.items(), key=lambda entry: self._rank(*entry)):
            by_name.setdefault(variant.card.name, []).append(variant)
        models: dict[str, ServedModel] = {}
        for name, variants in by_name.items():
            served, reasons = self._serve(variants, start)
            left_out |= reasons
            if served is not None:
                models[name] = served
        in_service = {variant for served in models.values() for variant in served.variants.values()}
        others = {path: variant for path, variant in known.items() if variant not in in_service and not variant.fault}
        for path, variant in others.items():
            if path not in left_out:
                left_out[path] = self._why_not(variant, models[variant.card.name])
        self._rejected = {path: entry for path, entry in self._rejected.items() if path in now.files}
        self._scan, self._known, self._left_out = now, known, left_out
        self._log_changes(models, broken_before)
        self.models = models
        for variant in others.values():  # until now they may have been in service
            variant.unload()

    def _variant(self, path: Path, stamp: Stamp, moved: Variant | None, start: bool) -> tuple[Variant | None, str | None]:
        """The variant to serve from a file: its present content if that is complete and runs, else its previous content.

        Also returns why its present content cannot be loaded just now, if that is so.
        """
        known = self._known.get(path)
        if moved is not None and (known is None or known.stamp != stamp):  # a file that was renamed is the same file
            moved.file = replace(moved.file, path=path)
            return moved, None
        before = known if known is not None and known.runs_on is not None and known.fault is None else None
        is_being_written = self._scan.files.get(path) != stamp
        if is_being_written or (known is not None and known.stamp == stamp):
            return known, None
        if path in self._rejected and self._rejected[path][0] == stamp:
            return before, None
        self._rejected.pop(path, None)
        try:
            return self._read(path, stamp, start), None
        except InvalidModel as error:
            self._rejected[path] = stamp, str(error)
            return before, None
        except LATER as error:
            if start and isinstance(error, DeviceUnavailable):
                raise
            return before, _why_later(error)

    def _read(self, path: Path, stamp: Stamp, start: bool) -> Variant:
        """A new variant from a file; except at the start, its model has run. Raises InvalidModel and what is in LATER."""
        self._trials.require_no_pause(stamp)
        file = ModelFile.read(path)
        if file.is_foreign or not start:
            self._trials.require(file, stamp)
        variant = Variant(file, stamp, self._open_session)
        if not start:
            variant.model(warm=True)
        return variant

    def _rank(self, path: Path, variant: Variant) -> int:
        """Sort key among the variants of a model: no new variant displaces one that is in service.

        0: the preferred variant, or the variant that is in its file now; 1: another served variant, or the one that is in its
        file now; 2: a new fp32 variant; 3: any other new variant.
        """
        served = self.models.get(variant.card.name)
        own = [one for one in served.variants.values() if one is variant or one.file.path == path] if served else []
        if served and own:
            return 0 if served.preferred in own else 1
        return 2 if variant.card.precision == "fp32" else 3

    def _serve(self, candidates: Sequence[Variant], start: bool) -> tuple[ServedModel | None, Mapping[Path, str]]:
        """A model's variants that have the same classes, with the best one loaded; None if none can be loaded.

        Also returns the files that cannot be loaded just now, and why.
        """
        reasons: dict[Path, str] = {}
        left = [variant for variant in candidates if variant.fault is None]
        devices: tuple[ReportedDevice, ...] = ("cuda", "cpu") if may_use_cuda(self._device) else ("cpu",)
        while left:
            variants = _with_same_classes(left)
            for device in devices:
                best, *_ = by_preference({precision: variant.card for precision, variant in variants.items()}, device)
                variant, is_new = variants[best], variants[best].runs_on is None
                try:
                    runs_on = variant.runs_on or variant.model(warm=True).device
                except (InvalidModel, *LATER) as error:
                    if start and isinstance(error, DeviceUnavailable):
                        raise
                    if not isinstance(error, InvalidModel):  # not the file's fault: tried again by the next `_update`
                        reasons[variant.file.path] = _why_later(error)
                    left.remove(variant)
                    break
                if runs_on == device or device == devices[-1]:
                    return ServedModel(variants, variant, runs_on), reasons
                if is_new:  # it was loaded only to see where it runs
                    variant.rest()
        return None, reasons

    def _why_not(self, variant: Variant, served: ServedModel) -> str:
        """The reason why a valid variant is not among the served variants of its model."""
        other = served.variants.get(variant.card.precision, served.preferred)
        name = other.file.path.relative_to(self._folder)
        if other.card.precision == variant.card.precision:
            return f"another {variant.card.precision} file of {variant.card.name} is served: {name}"
        return f"its classes are not those of {name}"

    def _log_changes(self, models: Mapping[str, ServedModel], broken_before: Mapping[str, str]) -> None:
        """Log models newly served or no longer served, and files newly left out."""
        for file, reason in self.broken.items():
            if broken_before.get(file) != reason:
                log.error("left out: %s: %s", file, reason)
        for name, served in models.items():
            before = self.models.get(name)
            now = served.preferred.file.sha256
            if before is None or before.preferred.file.sha256 != now:
                log.info("serving %s (%s, sha256 %s) on %s", name, served.preferred.card.precision, now, served.device)
        for name in self.models.keys() - models.keys():
            log.info("no longer serving %s", name)


def load_models(settings: Settings) -> Repository:
    """The repository of the models that an operator has set. Raises DeviceUnavailable.

    It does so if CUDA is asked for and not really in use, or if both the CPU and the GPU wheel of ONNX Runtime are installed.
    """
    require_one_runtime()
    return Repository(settings.models_dir, settings.device, settings.gpu_memory_bytes)


def _with_same_classes(candidates: Sequence[Variant]) -> dict[Precision, Variant]:
    """The candidates that have the classes of the first one, by precision; of several with one precision, the first."""
    fitting = [variant for variant in candidates if variant.card.classes == candidates[0].card.classes]
    first = {variant.card.precision: variant for variant in reversed(fitting)}
    return {precision: first[precision] for precision in sorted(first)}


def _why_later(error: Exception) -> str:
    return NO_MEMORY if isinstance(error, OutOfDeviceMemory) else str(error)


def _printable(text: str) -> str:
    """The text on one line, and without characters that cannot be encoded: names of files may hold any bytes."""
    encodable = text.encode("utf-8", "replace").decode()
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in encodable)
