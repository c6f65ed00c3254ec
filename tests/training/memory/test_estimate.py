"""The estimate is what a real step holds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny_network import DATASET, PRESET
from training.learner import Learner
from training.losses import SegmentationLoss
from training.memory.estimate import Estimate, estimate
from training.memory.live import LiveBytes
from training.parallel import World
from training.plan import Plan
from training.presets.preset import MomentumSGD, Preset

CPU = torch.device("cpu")
CLASSES = len(DATASET.classes)
PLANS = [Plan(4), Plan(2), Plan(1), Plan(4, "bf16"), Plan(4, recompute=True), Plan(2, "bf16", recompute=True)]


def estimated(preset: Preset = PRESET, plan: Plan | None = None, processes: int = 1) -> Estimate:
    """Of the tiny network on crops of 96x64."""
    return estimate(preset, plan or Plan(preset.batch), CLASSES, (96, 64), (160, 160), CPU, processes)


def real_learner(preset: Preset = PRESET, plan: Plan | None = None) -> tuple[Learner, int]:
    """A learner after two steps, and the bytes of tensors that the second one held at most."""
    live, shape = LiveBytes(CPU), (preset.batch, 64, 96)
    with live:
        learner = Learner.create(
            preset, DATASET.classes, None, SegmentationLoss(None), plan or Plan(preset.batch), World.alone()
        )
        for _ in range(2):
            live.restart()
            learner.learn(torch.zeros(preset.batch, 3, 64, 96, dtype=torch.uint8), torch.zeros(shape, dtype=torch.uint8), 2)
    return learner, live.peak


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_real_step_holds_at_most_what_is_estimated(plan: Plan) -> None:
    _, held = real_learner(PRESET, plan)
    assert estimated(PRESET, plan).step == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize("optimizer", [PRESET.optimizer, MomentumSGD(0.1, 0.9, 0.0)], ids=["adamw", "sgd"])
@pytest.mark.parametrize("frozen_stride", [0, 8])
def test_each_part_is_as_large_as_the_real_one(optimizer: MomentumSGD, frozen_stride: int) -> None:
    preset = replace(PRESET, optimizer=optimizer, frozen_stride=frozen_stride)
    learner, _ = real_learner(preset)
    parts = estimated(preset)
    gradients = [p.grad for p in learner.network.parameters() if p.grad is not None]
    state = [value for entry in learner.optimizer.state.values() for value in entry.values()]
    weights = [*learner.network.parameters(), *learner.network.buffers()]
    assert parts.gradients == sum(tensor.nbytes for tensor in gradients)
    assert parts.optimizer == sum(tensor.nbytes for tensor in state)
    assert parts.parameters == parts.average == sum(tensor.nbytes for tensor in weights)


def test_files_are_as_large_as_those_of_a_run(run: Path) -> None:
    parts, header = estimated(), 20_000
    for name, size in (("best", parts.weights_file), ("last", parts.weights_file), ("resume", parts.resume_file)):
        assert size <= (run / f"{name}.safetensors").stat().st_size <= size + header


def test_changes_that_save_memory_are_seen_to() -> None:
    whole, half, bf16, recomputing = (
        estimated(plan=plan) for plan in (Plan(4), Plan(2), Plan(4, "bf16"), Plan(4, recompute=True))
    )
    assert whole.activations == pytest.approx(2 * half.activations, rel=0.2)
    assert whole.activations == pytest.approx(2 * bf16.activations, rel=0.3)
    assert recomputing.activations < 0.7 * whole.activations
    assert max(half.step, bf16.step, recomputing.step) < whole.step


def test_images_that_wait_for_their_turn_count() -> None:
    twice = replace(PRESET, batch=2 * PRESET.batch)
    assert estimated(twice, Plan(1)).step - estimated(plan=Plan(1)).step == PRESET.batch * 96 * 64 * (3 + 1 + 8)


def test_processes_share_a_batch_and_exchange_gradients() -> None:
    alone, shared = estimated(replace(PRESET, batch=2), Plan(2)), estimated(PRESET, Plan(2), processes=2)
    assert shared.step == alone.step + alone.gradients


def test_validation_counts_the_largest_image() -> None:
    small, large = (estimate(PRESET, Plan(4), CLASSES, (96, 64), size, CPU) for size in ((96, 64), (1000, 700)))
    assert large.validation > large.step > small.validation
    assert (small.peak, large.peak) == (small.step, large.validation)
