"""The progress of a run, kept in the metadata of its resume file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import torch

from training.errors import InputError
from training.files import read_metadata
from training.machine import peak_resident_memory
from training.presets.preset import Preset


@dataclass(frozen=True)
class Progress:
    """What a run has reached, and the time and memory it took, including those before each resume."""

    best: float = float("-inf")  # validation mean IoU
    best_epoch: int = 0  # counted from 1; 0: none yet
    seconds: float = 0.0  # of training and validation
    peak_memory: int = 0  # bytes; see `peak_memory`

    def is_exhausted(self, epoch: int, preset: Preset) -> bool:
        """Whether, after `epoch` epochs, those since the best one have used up the preset's patience."""
        return preset.patience is not None and epoch - self.best_epoch >= preset.patience

    def knowing(self, best: Path) -> Self:
        """The progress including the model in the file `best`, which a killed run may have written after this progress.

        Raises InputError if the file is none that a run writes.
        """
        if not best.exists():
            return self
        told = read_metadata(best)
        try:
            epoch, mean_iou = int(told["epoch"]), float(told["val_mean_iou"])
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{best} does not say which epoch of a run it is: put the run's own back, "
                f"or remove it and resume.safetensors, and training starts anew ({error})"
            ) from error
        return self if epoch <= self.best_epoch else replace(self, best=mean_iou, best_epoch=epoch)

    def after(self, seconds: float) -> Self:
        """The progress after `seconds` in all, with the memory that this process has taken by now."""
        return replace(self, seconds=seconds, peak_memory=max(self.peak_memory, peak_memory()))

    def to_metadata(self) -> dict[str, str]:
        """All fields as strings, without rounding."""
        return {name: repr(value) for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """The inverse of `to_metadata`."""
        best, best_epoch, seconds, peak_memory = (metadata[name] for name in ("best", "best_epoch", "seconds", "peak_memory"))
        return cls(float(best), int(best_epoch), float(seconds), int(peak_memory))


def peak_memory() -> int:
    """Peak memory of this process in bytes: allocated on the GPU if there is one, else its largest resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_resident_memory()
