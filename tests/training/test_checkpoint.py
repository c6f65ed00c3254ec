"""Weights find the network that they belong to."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny_network import DATASET, PRESET, TinyBackbone
from training.checkpoint import load_checkpoint
from training.errors import InputError
from training.files import load_weights, save_weights
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation
from training.presets import PRESETS
from training.run_folder import RunFolder
from training.train import train


def test_weights_of_another_network_than_the_presets_say_so(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "fcn32s-tiny", lambda classes, _: FCN(TinyBackbone(), classes, 32))
    lighter = replace(PRESET, architecture="fcn32s-tiny", epochs=1)
    train(lighter, DATASET, shapes, tmp_path / "run", workers=0, command="train it")
    checkpoint = load_checkpoint(tmp_path / "run/best.safetensors")
    assert checkpoint.preset.architecture == "fcn32s-tiny"
    assert checkpoint.network.output_stride == 32
    assert checkpoint.command == "train it"


def test_a_run_folder_stands_for_its_best_weights(run: Path, tmp_path: Path) -> None:
    folder = RunFolder(Path(shutil.copytree(run, tmp_path / "run")))
    best, described = load_weights(folder.best)
    save_weights(folder.last, {name: torch.zeros_like(tensor) for name, tensor in best.items()}, described)
    torch.testing.assert_close(load_checkpoint(folder.path).network.state_dict(), best, rtol=0, atol=0)


def test_weights_keep_to_the_images_they_know_though_their_preset_has_changed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Normalisation(mean=(1.0, 2.0, 3.0))
    monkeypatch.setitem(PRESETS, PRESET.name, replace(PRESET, normalisation=other))
    assert load_checkpoint(run / "best.safetensors").preset.normalisation == PRESET.normalisation


def test_weights_tell_the_recipe_that_they_were_trained_by(shapes: Path, tmp_path: Path) -> None:
    shorter = replace(PRESET, epochs=1, warmup_epochs=0.25, batch=2)
    train(shorter, DATASET, shapes, tmp_path / "run", workers=0)
    assert load_checkpoint(tmp_path / "run/best.safetensors").preset == shorter


def test_weights_of_a_network_that_is_not_known_are_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(NETWORKS, PRESET.architecture)
    for source in (run, run / "best.safetensors"):
        with pytest.raises(InputError, match=f"{source} is of the network '{PRESET.architecture}'; known are"):
            load_checkpoint(source)
