"""A run's folder: frozen configuration, metrics by epoch, best and last weights, and the state to resume from."""

import csv
import fcntl
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from training.data.dataset import DataCard
from training.errors import InputError
from training.files import PARTIAL, write_atomically
from training.plan import Plan
from training.presets.preset import Preset


@contextmanager
def naming_resume(path: Path) -> Iterator[None]:
    """Turn what is raised in the block by a damaged resume file, or by one that is none, into an InputError that says so."""
    try:
        yield
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged, or no resume file: if it is removed, training starts anew ({error})") from error


@dataclass(frozen=True)
class Frozen:
    """The configuration that a run depends on, and the code that began the run."""

    preset: Preset
    plan: Plan
    data: DataCard
    commit: str  # of the code that began the run
    torch: str  # version
    machine: str  # processor architecture
    init: str | None  # SHA-256 of the file given as first weights; None: the preset's weights
    examples: str  # `training.data.fingerprint` of its training and validation images
    command: str  # that began the run; empty: no command did
    processes: int  # that shared each batch when the run began
    photos: str  # `training.data.fingerprint` of the photos of these images
    before: tuple[str, ...] = ()  # the steps that led to its first weights, where presets do not tell: see `export.recipe`

    def depends_on(self, what: str) -> object:
        """The value of `what`, a key of _DIFFERENCES, without titles and descriptions: rewording these does not stop a run."""
        if what == "preset":
            return replace(self.preset, title="")
        if what == "data":
            return self.data.name, [entry.name for entry in self.data.classes]
        return getattr(self, what)


_DIFFERENCES = {
    "preset": "its recipe is another",
    "data": "its data set or classes are others",
    "plan": "its steps are carried out otherwise",
    "init": "it began with other weights",
    "examples": "the names of its images, or its masks, have changed since",
    "photos": "its photos have changed since",
}


@dataclass(frozen=True)
class RunFolder:
    """Paths and records of one run. Every file except the TensorBoard events is replaced atomically."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration that the run depends on."""
        return self.path / "config.json"

    @property
    def best(self) -> Path:
        """Averaged weights of the best validation mean IoU so far."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """Averaged weights of the last finished epoch."""
        return self.path / "last.safetensors"

    @property
    def resume(self) -> Path:
        """Weights, averages and optimiser state of one step: one file, so that they cannot disagree."""
        return self.path / "resume.safetensors"

    @property
    def metrics(self) -> Path:
        """One row per finished epoch."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The metrics table as a picture."""
        return self.path / "curves.png"

    @property
    def samples(self) -> Path:
        """Some validation images with truth and estimate of the last finished epoch."""
        return self.path / "samples.jpg"

    @property
    def weights(self) -> Path:
        """List of the tensors that came from the first weights, and of those that were drawn at random."""
        return self.path / "weights.txt"

    @property
    def record(self) -> Path:
        """Setup, cost and result of the finished run: see `training.report.record`."""
        return self.path / "record.json"

    @property
    def events(self) -> Path:
        """Folder of the metrics table in TensorBoard's format."""
        return self.path / "tensorboard"

    def freeze(self, wanted: Frozen) -> None:
        """Record the configuration of a new run."""
        if not self.config.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config, TypeAdapter(Frozen).dump_json(wanted, indent=2))

    def begun(self, wanted: Frozen) -> Frozen:
        """The configuration of the run in this folder; `wanted` if there is no run yet.

        A run may continue with smaller micro-batches than it began with. Raises InputError if the folder holds a run of
        another configuration.
        """
        if not self.config.exists():
            return wanted
        found = self.frozen()
        micro_batch = min(found.plan.micro_batch, wanted.plan.micro_batch)
        alike = replace(found, plan=replace(found.plan, micro_batch=micro_batch))
        differ = [name for name in _DIFFERENCES if alike.depends_on(name) != wanted.depends_on(name)]
        if differ:
            told = "; ".join(_DIFFERENCES[name] for name in differ)
            raise InputError(f"{self.path} holds a run of another configuration ({told}); give another --out")
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder, and remove what a killed one had written of a file.

        Raises InputError if another one is training in it already.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("wb") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a lock of this process: image readers do not inherit it
            except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES: the lock is held
                raise InputError(f"another process is training in {self.path}") from error
            for left in self.path.glob(f"*{PARTIAL}"):
                left.unlink(missing_ok=True)
            yield

    def frozen(self) -> Frozen:
        """The configuration of the run in this folder. Raises InputError if this is no run folder."""
        try:
            return TypeAdapter(Frozen).validate_json(self.config.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(f"{self.path} is no run folder: it holds no config.json") from error
        except ValidationError as error:
            raise InputError(f"{self.config} does not describe a run of this trainer") from error

    def rows(self, before_epoch: int) -> list[dict[str, str]]:
        """Metrics of the epochs before `before_epoch`, counted from 1. Raises InputError if the table is damaged."""
        if not self.metrics.exists():
            return []
        try:
            with self.metrics.open(encoding="utf-8", newline="") as file:
                return [row for row in csv.DictReader(file) if int(row["epoch"]) < before_epoch]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise InputError(f"{self.metrics} is damaged: if it is removed, only its epochs are lost ({error})") from error

    def require_whole(self, best_epoch: int) -> None:
        """Raises InputError if a file that the run's end needs is missing or damaged; `best_epoch` is 0 before the first."""
        self.rows(best_epoch)
        if best_epoch and not self.best.exists():
            raise InputError(
                f"{self.best}, the model of epoch {best_epoch}, is missing: "
                f"put it back, or remove {self.resume.name}, and training starts anew"
            )

    def append_row(self, row: Mapping[str, object]) -> None:
        """Add one epoch's metrics, replacing rows for this or later epochs, which a killed run may have left."""
        rows: list[Mapping[str, object]] = [*self.rows(int(str(row["epoch"]))), row]
        table = io.StringIO()
        writer = csv.DictWriter(table, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.metrics, table.getvalue().encode())
