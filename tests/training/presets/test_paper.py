"""The paper's recipe goes through the trainer."""

import csv
from dataclasses import replace
from pathlib import Path

from tests.tiny_network import DATASET, PRESET
from training.presets.paper import FCN32S
from training.run_folder import RunFolder
from training.train import train


def test_whole_images_one_a_step_with_a_summed_loss(shapes: Path, tmp_path: Path) -> None:
    preset = replace(
        PRESET,
        long_side=None,
        augmentation=FCN32S.augmentation,
        batch=FCN32S.batch,
        optimizer=replace(FCN32S.optimizer, learning_rate=1e-6),  # the tiny network has no VGG's features to start from
        loss=FCN32S.loss,
        schedule=FCN32S.schedule,
        warmup_epochs=0,
        averaging=0,
    )
    train(preset, DATASET, shapes, tmp_path / "run", workers=0)
    with RunFolder(tmp_path / "run").metrics.open(newline="") as file:
        first, last = (float(row["train_loss"]) for row in csv.DictReader(file))
    assert first > 1000  # over thousands of pixels
    assert last < first
