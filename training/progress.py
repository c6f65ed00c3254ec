"""How far a run has come, kept with its resume file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import torch

from training.machine import peak_resident_memory
from training.presets.preset import Preset
from training.run_folder import read_metadata


@dataclass(frozen=True)
class Progress:
    """What a run has reached, and what that cost over all its starts."""

    best: float = float("-inf")  # validation mean IoU
    best_epoch: int = 0  # from 1; 0: none yet
    seconds: float = 0.0  # of training and validation
    peak_memory: int = 0  # bytes; see `peak_memory`

    def is_exhausted(self, epoch: int, preset: Preset) -> bool:
        """Whether the epochs after the best one have used up the preset's patience."""
        return preset.patience is not None and epoch - self.best_epoch >= preset.patience

    def knowing(self, best: Path) -> Self:
        """With the best model that is in that file, though a kill came before this was told of it."""
        told = read_metadata(best) if best.exists() else {"epoch": "0"}
        if int(told["epoch"]) <= self.best_epoch:
            return self
        return replace(self, best=float(told["val_mean_iou"]), best_epoch=int(told["epoch"]))

    def to_metadata(self) -> dict[str, str]:
        """As strings, exactly."""
        return {name: repr(value) for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """The inverse of `to_metadata`."""
        best, best_epoch, seconds, peak_memory = (metadata[name] for name in ("best", "best_epoch", "seconds", "peak_memory"))
        return cls(float(best), int(best_epoch), float(seconds), int(peak_memory))


def peak_memory() -> int:
    """Bytes that this process has held at most: allocated on the GPU where there is one, else its largest resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return peak_resident_memory()
