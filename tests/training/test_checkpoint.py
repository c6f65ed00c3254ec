"""Weights find the network that they belong to."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_network import DATASET, PRESET, TinyBackbone
from training.checkpoint import load_checkpoint
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation
from training.presets import PRESETS
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


def test_weights_keep_to_the_images_they_know_though_their_preset_has_changed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Normalisation(mean=(1.0, 2.0, 3.0))
    monkeypatch.setitem(PRESETS, PRESET.name, replace(PRESET, normalisation=other))
    assert load_checkpoint(run / "best.safetensors").preset.normalisation == PRESET.normalisation
