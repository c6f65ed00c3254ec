"""What a run knows of its best model."""

from pathlib import Path

import torch

from training.files import save_weights
from training.progress import Progress


def test_a_best_model_that_was_written_before_a_kill_is_known_after_it(tmp_path: Path) -> None:
    best = tmp_path / "best.safetensors"
    progress = Progress(best=0.5, best_epoch=3)
    assert progress.knowing(best) == progress
    for epoch, expected in ((3, progress), (4, Progress(best=0.6, best_epoch=4))):
        save_weights(best, {"weight": torch.zeros(1)}, {"epoch": str(epoch), "val_mean_iou": "0.6"})
        assert progress.knowing(best) == expected
