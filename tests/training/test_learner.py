"""One step of training."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from service.metrics import VOID
from tests.tiny_network import DATASET, PRESET, TinyBackbone
from training.errors import InputError
from training.files import save_weights
from training.learner import Learner
from training.losses import SegmentationLoss
from training.networks.fcn import FCN
from training.parallel import World
from training.plan import Plan
from training.presets.preset import Loss, MomentumSGD, Preset


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=random)
    return pixels, torch.randint(0, 7, (4, 64, 64), dtype=torch.uint8, generator=random)


def learner(
    preset: Preset = PRESET, init: Path | None = None, plan: Plan | None = None, loss: SegmentationLoss | None = None
) -> Learner:
    """The tiny network before its first step."""
    return Learner.create(
        preset, DATASET.classes, init, loss or SegmentationLoss(None), plan or Plan(preset.batch), World.alone()
    )


def test_a_fully_ignored_batch_has_zero_loss_and_leaves_no_nan() -> None:
    tiny = learner()
    tiny.learn(*batch(), steps_per_epoch=1)
    pixels, labels = batch(1)
    loss = tiny.learn(pixels, torch.full_like(labels, VOID), steps_per_epoch=1)
    assert float(loss) == 0
    assert all(bool(tensor.isfinite().all()) for tensor in tiny.network.state_dict().values())


def test_steps_on_one_batch_lower_its_loss() -> None:
    tiny = learner(dataclasses.replace(PRESET, epochs=30))
    pixels, labels = batch()
    labels[:] = 3
    losses = [float(tiny.learn(pixels, labels, steps_per_epoch=1)) for _ in range(20)]
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize(("step", "decay"), [(10_000, PRESET.averaging), (0, 2 / 11)])
def test_the_average_follows_the_weights_with_the_presets_decay_but_more_closely_at_first(step: int, decay: float) -> None:
    tiny = learner(dataclasses.replace(PRESET, warmup_epochs=0.0))
    tiny.step = step
    name = "scores.0.weight"
    before = tiny.averaged.state_dict()[name].clone()
    tiny.learn(*batch(), steps_per_epoch=10_000)
    mean, value = (network.state_dict()[name] for network in (tiny.averaged, tiny.network))
    torch.testing.assert_close(mean, before + (value - before) * (1 - decay))
    assert bool((mean != before).any())


def test_fine_tuning_starts_from_fp16_weights(models: Path) -> None:
    tiny = learner(PRESET, models / "tiny.safetensors")
    state = tiny.network.state_dict()
    assert state["scores.0.weight"].dtype == torch.float32
    counted = state["backbone.steps.0.1.num_batches_tracked"]
    assert counted.dtype == torch.int64
    assert int(counted) > 0
    assert torch.isfinite(tiny.learn(*batch(), steps_per_epoch=1))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "other.safetensors", TinyBackbone().state_dict(), {})
    with pytest.raises(InputError, match="do not fit the network"):
        learner(PRESET, tmp_path / "other.safetensors")


def test_frozen_layers_keep_their_weights_and_statistics() -> None:
    tiny = learner(dataclasses.replace(PRESET, frozen_stride=4))
    before = {name: tensor.clone() for name, tensor in tiny.network.state_dict().items()}
    for _ in range(2):
        tiny.learn(*batch(), steps_per_epoch=2)
    after = tiny.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("backbone.steps.0.", "backbone.steps.1."))}
    assert frozen
    assert not changed & frozen
    assert {name for name in before if name.startswith("backbone.") and "weight" in name} - frozen <= changed


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_gradient_is_clipped_to_the_presets_norm(precision: Literal["fp32", "fp16"]) -> None:
    tiny = learner(dataclasses.replace(PRESET, clip_norm=1e-3), plan=Plan(PRESET.batch, precision))
    tiny.learn(*batch(), steps_per_epoch=2)
    gradients = [parameter.grad for parameter in tiny.network.parameters() if parameter.grad is not None]
    assert float(torch.stack([gradient.norm() for gradient in gradients]).norm()) == pytest.approx(1e-3, rel=1e-3)


def without_chance(tiny: Learner) -> Learner:
    """The same without dropout and with statistics that do not depend on who shares a batch."""
    tiny.network.backbone.freeze(32)
    assert isinstance(tiny.network, FCN)
    tiny.network.dropout.p = 0.0
    return tiny


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("jaccard", [0.0, 1.0])
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(reduction: Literal["mean", "sum"], jaccard: float) -> None:
    preset = dataclasses.replace(PRESET, loss=Loss(reduction=reduction, jaccard=jaccard))
    pixels, labels = batch()
    labels[0, :40] = VOID  # parts of unequal weight
    weights = torch.rand(7, generator=torch.Generator().manual_seed(0)) + 0.5
    results = []
    for micro_batch in (4, 3, 1):
        tiny = without_chance(learner(preset, plan=Plan(micro_batch), loss=SegmentationLoss(weights, jaccard)))
        loss = tiny.learn(pixels, labels, steps_per_epoch=1)
        results.append([loss, *(p.grad for p in tiny.network.scores.parameters())])  # type: ignore[union-attr]
    for parts in results[1:]:
        torch.testing.assert_close(parts, results[0])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_the_mean_or_the_sum_over_the_pixels_of_the_batch(reduction: Literal["mean", "sum"]) -> None:
    tiny = without_chance(learner(dataclasses.replace(PRESET, loss=Loss(reduction=reduction)), plan=Plan(3)))
    pixels, labels = batch()
    labels[0, :40] = VOID
    enlarged = F.interpolate(tiny.network(pixels.float()), size=labels.shape[1:], mode="bilinear")
    expected = F.cross_entropy(enlarged, labels.long(), ignore_index=VOID, reduction=reduction)
    torch.testing.assert_close(tiny.learn(pixels, labels, steps_per_epoch=1), expected.detach())


def dropped(preset: Preset = PRESET, rank: int = 0) -> list[torch.Tensor]:
    """What dropout makes of ones in the first two steps."""
    tiny = learner(preset)
    tiny.world = dataclasses.replace(tiny.world, rank=rank)
    assert isinstance(tiny.network, FCN)
    seen: list[torch.Tensor] = []
    tiny.network.dropout.register_forward_pre_hook(lambda _, inputs: torch.ones_like(inputs[0]))
    tiny.network.dropout.register_forward_hook(lambda _, inputs, output: seen.append(output))
    for _ in range(2):
        tiny.learn(*batch(), steps_per_epoch=2)
    return seen


def test_what_is_dropped_is_another_in_each_step_process_and_run_but_the_same_again() -> None:
    first, second = dropped()
    assert torch.equal(first, dropped()[0])
    for other in (second, dropped(rank=1)[0], dropped(dataclasses.replace(PRESET, seed=PRESET.seed + 1))[0]):
        assert not torch.equal(first, other)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_one(capsys: pytest.CaptureFixture[str]) -> None:
    def fill_memory(module: nn.Module, inputs: tuple[torch.Tensor, ...], scores: torch.Tensor) -> None:
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("injected")

    tiny, expected = learner(), learner(plan=Plan(1))
    tiny.network.register_forward_hook(fill_memory)  # batch normalisation has counted the images by then
    for step in range(3):
        loss = tiny.learn(*batch(step), steps_per_epoch=3)
        torch.testing.assert_close(loss, expected.learn(*batch(step), steps_per_epoch=3), rtol=0, atol=0)
    assert tiny.plan.micro_batch == 1
    assert "out of memory at step 0: going on with micro-batches of 2" in capsys.readouterr().out
    torch.testing.assert_close(tiny.network.state_dict(), expected.network.state_dict(), rtol=0, atol=0)


def test_out_of_memory_in_the_middle_of_training_leaves_the_result_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    preset = dataclasses.replace(PRESET, optimizer=MomentumSGD(0.05, 0.9, 1e-3))
    recovering, undisturbed = (without_chance(learner(preset)) for _ in range(2))
    seen: list[int] = []
    half_done: list[bool] = []

    def fill_memory(gradient: torch.Tensor) -> None:
        if recovering.step == 2 and recovering.plan.micro_batch == 4:
            half_done.append(any(parameter.grad is not None for parameter in recovering.network.parameters()))
            raise torch.OutOfMemoryError("injected")

    for tiny in (recovering, undisturbed):
        tiny.network.backbone.requires_grad_(True)  # all layers learn, with statistics as they are
    recovering.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    next(recovering.network.backbone.parameters()).register_hook(fill_memory)  # type: ignore[no-untyped-call]
    for step in range(4):
        losses = [tiny.learn(*batch(step), steps_per_epoch=4) for tiny in (recovering, undisturbed)]
        torch.testing.assert_close(*losses)
    assert half_done == [True]  # in the backward pass, with gradients of the later layers there already
    assert seen == [4, 4, 4, 2, 2, 2, 2]
    assert "out of memory at step 2: going on with micro-batches of 2" in capsys.readouterr().out
    torch.testing.assert_close(recovering.network.state_dict(), undisturbed.network.state_dict())
    torch.testing.assert_close(recovering.averaged.state_dict(), undisturbed.averaged.state_dict())


def test_memory_that_does_not_suffice_for_one_image_is_told() -> None:
    def fill_memory(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        raise torch.OutOfMemoryError("injected")

    tiny = learner()
    tiny.network.register_forward_pre_hook(fill_memory)
    with pytest.raises(InputError, match="out of memory with 1 crop"):
        tiny.learn(*batch(), steps_per_epoch=1)


def test_recomputing_activations_changes_neither_weights_nor_statistics() -> None:
    plain, recomputing = learner(), learner(plan=Plan(PRESET.batch, recompute=True))
    buffers = dict(recomputing.network.named_buffers())
    for step in range(3):
        plain.learn(*batch(step), steps_per_epoch=3)
        recomputing.learn(*batch(step), steps_per_epoch=3)
    torch.testing.assert_close(plain.network.state_dict(), recomputing.network.state_dict(), rtol=0, atol=0)
    assert all(buffer is buffers[name] for name, buffer in recomputing.network.named_buffers())  # which a failed step restores


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_too(precision: Literal["bf16", "fp16"]) -> None:
    tiny = learner(dataclasses.replace(PRESET, epochs=30), plan=Plan(2, precision))
    pixels, labels = batch()
    labels[:] = 3
    losses = [float(tiny.learn(pixels, labels, steps_per_epoch=1)) for _ in range(20)]
    assert losses[-1] < losses[0] / 4
    assert all(parameter.dtype == torch.float32 for parameter in tiny.network.parameters())


def test_a_resumed_run_goes_on_with_the_scale_of_its_fp16_gradients(tmp_path: Path) -> None:
    before, after = (learner(plan=Plan(PRESET.batch, "fp16")) for _ in range(2))
    before.learn(*batch(), steps_per_epoch=2)
    before.scaler.update(64.0)
    before.save(tmp_path / "resume.safetensors", {})
    after.restore(tmp_path / "resume.safetensors")
    assert after.scaler.state_dict() == before.scaler.state_dict()
    assert after.scaler.get_scale() == 64


@pytest.mark.parametrize(("asked", "expected"), [(4, 2), (1, 1)])
def test_a_resumed_run_takes_no_more_crops_at_a_time_than_before(asked: int, expected: int, tmp_path: Path) -> None:
    before, after = learner(plan=Plan(2)), learner(plan=Plan(asked))
    before.save(tmp_path / "resume.safetensors", {})
    after.restore(tmp_path / "resume.safetensors")
    assert after.plan.micro_batch == expected
