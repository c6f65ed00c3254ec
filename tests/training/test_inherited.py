"""What a model states of its first weights, their terms and their training, goes on to the models that begin from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_network import DATASET, PRESET
from training.checkpoint import load_checkpoint
from training.export.card import Measurements, describe
from training.export.files import export
from training.train import train

OWN = replace(DATASET, name="folder", description="images and masks in folder a", licence="Not stated.")
TUNED = replace(PRESET, name="fine-tune-tiny", dataset="folder", start=PRESET.name, epochs=1)
COMMAND = "python -m training train --data DIR --out RUN"


def test_terms_and_steps_of_the_first_weights_reach_the_cards_of_their_grandchildren(
    run: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export.recipe._CHOSEN", {TUNED.name})
    train(TUNED, OWN, shapes, tmp_path / "a", init=run / "best.safetensors", workers=0, command=f"{COMMAND} --init a")
    child = load_checkpoint(tmp_path / "a")
    assert describe(child, "a").licence == f"Not stated. Its first weights: {DATASET.description}; {DATASET.licence}"
    export(child, tmp_path, "a", Measurements())

    other, again = replace(OWN, description="images and masks in folder b"), replace(TUNED, start=TUNED.name)
    init = tmp_path / "a.safetensors"
    train(again, other, shapes, tmp_path / "b", init=init, workers=0, command=f"{COMMAND} --init b")
    for source in (tmp_path / "b", tmp_path / "b/best.safetensors"):
        card = describe(load_checkpoint(source), "b")
        assert card.licence == describe(child, "a").licence
        first, second, third, *_ = card.recipe.splitlines()
        assert first.startswith("1. ") and "from scratch weights" in first
        assert second.startswith(f"2. `{COMMAND} --init a`") and second.endswith("Its data: images and masks in folder a.")
        assert third.startswith(f"3. `{COMMAND} --init b`: from those weights")


def test_the_same_terms_are_stated_once(run: Path, shapes: Path, tmp_path: Path) -> None:
    finer = replace(PRESET, name="finer", epochs=1, start=PRESET.name)
    train(finer, DATASET, shapes, tmp_path / "run", init=run / "best.safetensors", workers=0)
    assert load_checkpoint(tmp_path / "run").data.licence == DATASET.licence
