"""A preset's optimiser and its learning rate over time."""

import dataclasses

import pytest

from tests.tiny_network import PRESET, tiny_fcn
from training.optimizer import create_optimizer, rate_at
from training.presets.preset import AdamW, MomentumSGD


def test_the_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    preset = dataclasses.replace(PRESET, warmup_epochs=0.5, epochs=12)
    assert [rate_at(epoch, preset) for epoch in (0, 0.25, 0.5, 6.25, 12)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_a_constant_rate_stays_at_its_peak() -> None:
    preset = dataclasses.replace(PRESET, schedule="constant", warmup_epochs=0)
    assert {rate_at(epoch, preset) for epoch in (0, 1, PRESET.epochs)} == {1.0}


@pytest.mark.parametrize("how", [AdamW(0.1, 0.2, 0.3), MomentumSGD(0.1, 0.9, 0.3)], ids=lambda how: str(how.method))
def test_only_kernels_decay_not_biases_or_normalisation(how: AdamW | MomentumSGD) -> None:
    network = tiny_fcn(3)
    groups = create_optimizer(network, how).param_groups
    decayed = [p for group in groups if group["weight_decay"] == 0.3 for p in group["params"]]
    spared = [p for group in groups if group["weight_decay"] == 0 for p in group["params"]]
    assert {p.dim() for p in decayed} == {4}
    assert {p.dim() for p in spared} == {1}
    assert len(decayed) + len(spared) == len(list(network.parameters()))


def test_caffes_biases_learn_at_twice_the_rate() -> None:
    groups = create_optimizer(tiny_fcn(3), MomentumSGD(0.1, 0.9, 0.3)).param_groups
    assert {(group["params"][0].dim(), group["peak"]) for group in groups} == {(4, 0.1), (1, 0.2)}


def test_new_layers_learn_at_the_heads_rate() -> None:
    network = tiny_fcn(3)
    head = {id(parameter) for parameter in network.scores.parameters()}
    for group in create_optimizer(network, AdamW(0.1, 0.2, 0.3)).param_groups:
        assert {id(p) in head for p in group["params"]} == {group["peak"] == 0.2}
