"""A recipe that cannot learn one batch by heart is told so."""

import dataclasses
from pathlib import Path

from tests.tiny_network import DATASET, PRESET
from training.overfit import overfit
from training.presets.preset import AdamW


def test_a_sound_recipe_learns_its_first_batch(shapes: Path) -> None:
    result = overfit(PRESET, DATASET, shapes, None, steps=60)
    assert result.learned
    assert result.last_loss < result.first_loss / 5


def test_a_rate_of_nothing_learns_nothing(shapes: Path) -> None:
    result = overfit(dataclasses.replace(PRESET, optimizer=AdamW(0.0, 0.0, 0.0)), DATASET, shapes, None, steps=3)
    assert not result.learned
    assert result.last_loss == result.first_loss
