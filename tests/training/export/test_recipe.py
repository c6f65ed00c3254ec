"""A recipe tells every step, in the words of the command line."""

from dataclasses import replace

import pytest

from tests.tiny_network import PRESET
from training.export.recipe import recipe_text
from training.presets import PRESETS
from training.presets.preset import MomentumSGD


def test_every_step_is_told_from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, PRESET.name, PRESET)
    second = replace(PRESET, name="shapes-second", start=PRESET.name, epochs=1, frozen_stride=8)
    first, then, _, last = recipe_text(second, "0123456789abcdef").splitlines()
    assert first.startswith(f"1. `python -m training train {PRESET.name} --data DIR --out runs/{PRESET.name}`: from scratch")
    assert "2 epochs of 4 crops of 96x96 px" in first and "0.5 epochs of warm-up" in first
    assert f"train shapes-second --data DIR --out runs/shapes-second --init runs/{PRESET.name}/best.safetensors`" in then
    assert "from those weights, 1 epoch of 4" in then and "layers up to stride 8 frozen" in then
    assert "at commit `0123456789ab`" in last


def test_the_data_of_a_step_before_are_called_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, PRESET.name, PRESET)
    first, then, *_ = recipe_text(replace(PRESET, name="streets", dataset="camvid", start=PRESET.name), "none").splitlines()
    assert "--data VOC-ANIMALS --out" in first
    assert "train streets --data DIR --out" in then


def test_what_was_changed_for_the_run_is_told_as_it_was_run() -> None:
    assert " 7 epochs of 4 crops" in recipe_text(replace(PRESET, epochs=7), "none")


def test_ones_own_data_chooses_its_recipe() -> None:
    steps = recipe_text(PRESETS["fine-tune-unet-lite0"], "none")
    assert "train nuclei-unet --data NUCLEI --out runs/nuclei-unet`" in steps
    assert "`python -m training train --data DIR --out runs/fine-tune-unet-lite0 --init runs/nuclei-unet/best" in steps
    assert "train shapes-fcn8s-tiny --data DIR" in recipe_text(replace(PRESET, dataset="folder"), "none")


def test_the_last_step_is_told_by_the_command_that_ran_it_and_another_network_by_its_name() -> None:
    lighter = replace(PRESETS["paper-fcn32s-vgg16"], architecture="fcn32s-vgg16")
    text = recipe_text(
        lighter, "none", "python -m training train paper-fcn32s-vgg16 --data DIR --out RUN --init x.pth --fit auto"
    )
    assert "1. `python -m training train paper-fcn32s-vgg16 --data DIR --out RUN --init x.pth --fit auto`: from those" in text
    assert "fcn32s-vgg16 in place of fcn32s-vgg16-paper" in text


def test_a_fine_tuned_model_that_is_fine_tuned_again_is_one_step() -> None:
    again = replace(PRESETS["fine-tune-unet-lite0"], start="fine-tune-unet-lite0")
    assert "1. `python -m training train --data DIR" in recipe_text(again, "none")


def test_images_that_are_not_varied_are_not_said_to_be() -> None:
    plain = replace(PRESET.augmentation, crop=None, scale=(1.0, 1.0), flip=0.0, jitter=0.0)
    assert "2 epochs of 4 whole images a step, AdamW" in recipe_text(replace(PRESET, augmentation=plain), "none")


def test_momentum_and_no_averaging_are_told() -> None:
    text = recipe_text(replace(PRESET, optimizer=MomentumSGD(1e-3, 0.9, 5e-4), averaging=0.0), "none")
    assert "SGD with momentum 0.9, weight decay 0.0005, learning rate 0.001 and twice that for biases" in text
    assert "averag" not in text
