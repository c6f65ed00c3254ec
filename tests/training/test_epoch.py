"""What an epoch's end says."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from service.metrics import ConfusionMatrix
from tests.tiny_network import DATASET, PRESET
from training.epoch import collapsed
from training.train import train

CLASSES = DATASET.classes[:3]


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        ([[400, 0, 0], [300, 1, 0], [300, 0, 0]], "background"),
        ([[930, 0, 0], [40, 2, 0], [30, 0, 0]], "background"),  # a small object is missed as well
        ([[0, 0, 500], [0, 0, 300], [0, 0, 200]], CLASSES[2].name),
        ([[930, 0, 0], [10, 30, 0], [10, 0, 20]], None),
        ([[1000, 0, 0], [0, 0, 0], [0, 0, 0]], None),  # there is nothing else
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], None),
    ],
)
def test_it_warns_of_one_class_for_everything_where_the_truth_has_others(counts: list[list[int]], name: str | None) -> None:
    assert collapsed(ConfusionMatrix.from_counts(np.array(counts)), CLASSES) == name


def test_a_run_has_a_third_of_its_epochs_to_learn_more_than_one_class(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.epoch.collapsed", lambda *_: "background")
    train(dataclasses.replace(PRESET, epochs=4), DATASET, shapes, tmp_path / "run", workers=0)
    told = capsys.readouterr().out.splitlines()
    after = [before.split(":")[0] for before, line in pairwise(told) if "nearly every pixel is called 'background'" in line]
    assert after == ["epoch 2", "epoch 3", "epoch 4"]
    assert "more epochs may help" in "".join(told)
