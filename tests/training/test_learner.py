"""One step of training."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from service.metrics import VOID
from tests.tiny_network import PRESET, TinyBackbone
from training.errors import InputError
from training.learner import Learner, pixel_loss, schedule
from training.run_folder import save_weights


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=random)
    return pixels, torch.randint(0, 7, (4, 64, 64), dtype=torch.uint8, generator=random)


def test_a_fully_ignored_batch_has_zero_loss_and_leaves_no_nan() -> None:
    learner = Learner.create(PRESET, 7, None)
    learner.learn(*batch(), steps_per_epoch=1)
    pixels, labels = batch(1)
    loss = learner.learn(pixels, torch.full_like(labels, VOID), steps_per_epoch=1)
    assert float(loss) == 0
    assert all(bool(tensor.isfinite().all()) for tensor in learner.network.state_dict().values())


def test_the_loss_is_the_mean_over_the_pixels_that_count() -> None:
    scores = torch.zeros(1, 2, 2, 2)
    scores[0, 1] = 3.0
    labels = torch.full((1, 16, 16), VOID)
    labels[0, :3, :3], labels[0, 3, 3] = 1, 0
    right, wrong = nn.functional.softplus(torch.tensor([-3.0, 3.0]))
    torch.testing.assert_close(pixel_loss(scores, labels), (9 * right + wrong) / 10)


def test_steps_on_one_batch_lower_its_loss() -> None:
    learner = Learner.create(dataclasses.replace(PRESET, epochs=30), 7, None)
    pixels, labels = batch()
    labels[:] = 3
    losses = [float(learner.learn(pixels, labels, steps_per_epoch=1)) for _ in range(20)]
    assert losses[-1] < losses[0] / 4


def test_the_average_follows_the_weights_with_the_presets_decay() -> None:
    learner = Learner.create(PRESET, 7, None)
    learner.step = 10_000  # past the start, where it follows more closely
    name = "scores.0.weight"
    before = learner.averaged.state_dict()[name].clone()
    learner.learn(*batch(), steps_per_epoch=10_000)
    mean, value = (network.state_dict()[name] for network in (learner.averaged, learner.network))
    torch.testing.assert_close(mean, before + (value - before) * (1 - PRESET.averaging))
    assert bool((mean != before).any())


def test_the_schedule_rises_to_its_peak_and_falls_to_zero() -> None:
    assert schedule(0, 0.5, 12) == 0
    assert schedule(0.25, 0.5, 12) == pytest.approx(0.5)
    assert schedule(0.5, 0.5, 12) == 1
    assert schedule(6.25, 0.5, 12) == pytest.approx(0.5)
    assert schedule(12, 0.5, 12) == pytest.approx(0)


def test_only_weights_decay_not_biases_or_normalisation() -> None:
    learner = Learner.create(PRESET, 7, None)
    decayed = [p for group in learner.optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]]
    spared = [p for group in learner.optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]]
    assert all(p.dim() == 4 for p in decayed)
    assert all(p.dim() == 1 for p in spared)
    assert len(decayed) + len(spared) == len(list(learner.network.parameters()))


def test_fine_tuning_starts_from_fp16_weights(models: Path) -> None:
    learner = Learner.create(PRESET, 7, models / "tiny.safetensors")
    state = learner.network.state_dict()
    assert state["scores.0.weight"].dtype == torch.float32
    counted = state["backbone.steps.0.1.num_batches_tracked"]
    assert counted.dtype == torch.int64
    assert int(counted) > 0
    assert torch.isfinite(learner.learn(*batch(), steps_per_epoch=1))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "other.safetensors", TinyBackbone().state_dict(), {})
    with pytest.raises(InputError, match=r"other\.safetensors does not fit the network"):
        Learner.create(PRESET, 7, tmp_path / "other.safetensors")


def test_frozen_layers_keep_their_weights_and_statistics() -> None:
    learner = Learner.create(dataclasses.replace(PRESET, frozen_stride=4), 7, None)
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    for _ in range(2):
        learner.learn(*batch(), steps_per_epoch=2)
    after = learner.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("backbone.steps.0.", "backbone.steps.1."))}
    assert frozen
    assert not changed & frozen
    assert {name for name in before if name.startswith("backbone.") and "weight" in name} - frozen <= changed
