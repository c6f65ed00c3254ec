"""The least change that fits is the one that is made."""

from dataclasses import replace

import pytest
import torch

from tests.tiny_network import PRESET
from training.memory.estimate import Estimate
from training.memory.fit import BESIDE, HEAP_GROWTH, MARGIN, Trial, changes, fit, lower_precision
from training.networks import LIGHTER, NETWORKS
from training.plan import Plan
from training.presets.preset import Preset

PAPER = replace(PRESET, architecture="fcn32s-vgg16-paper", batch=16)
MEGABYTE = 1_000_000


def trial(preset: Preset, plan: Plan) -> Trial:
    """A made-up network of 100 MB, or 20 MB with the light head; 16 MB a crop, half in bf16, a quarter where recomputed."""
    fixed = 20 if preset.architecture == "fcn32s-vgg16" else 100
    crop = 16 / (2 if plan.precision == "bf16" else 1) / (4 if plan.recompute else 1)
    step = int((fixed + crop * plan.micro_batch) * MEGABYTE)
    return Trial(preset, plan, Estimate(0, 0, 0, 0, 0, step, validation=0, weights_file=0, resume_file=0))


def costlier_in_bf16(preset: Preset, plan: Plan) -> Trial:
    """Another, whose weights' second copy in bf16 is more than its activations."""
    tried = trial(preset, plan)
    more = 50 * MEGABYTE if plan.precision == "bf16" else 0
    return replace(tried, estimate=replace(tried.estimate, step=tried.estimate.step + more))


def free_for(megabytes: float) -> int:
    """What must be free for a peak of that many megabytes."""
    return int(megabytes * MEGABYTE * MARGIN) + BESIDE + 1


ASKED = trial(PAPER, Plan(16))


@pytest.mark.parametrize(
    ("megabytes", "architecture", "plan"),
    [
        (300, "fcn32s-vgg16-paper", Plan(8)),
        (140, "fcn32s-vgg16-paper", Plan(2)),
        (120, "fcn32s-vgg16-paper", Plan(1)),
        (110, "fcn32s-vgg16-paper", Plan(1, "bf16")),
        (105, "fcn32s-vgg16-paper", Plan(2, "bf16", recompute=True)),
        (90, "fcn32s-vgg16", Plan(4)),
        (25, "fcn32s-vgg16", Plan(2, "bf16", recompute=True)),
    ],
)
def test_the_least_change_that_fits_comes_last(megabytes: float, architecture: str, plan: Plan) -> None:
    found = fit(ASKED, changes(ASKED, "bf16", trial), free_for(megabytes), trial)[-1]
    assert found.fits(free_for(megabytes))
    assert (found.preset.architecture, found.plan) == (architecture, plan)


def test_where_nothing_fits_all_was_tried() -> None:
    trials = fit(ASKED, changes(ASKED, "bf16", trial), free_for(10), trial)
    assert not trials[-1].fits(free_for(10))
    assert [(t.preset.architecture == PAPER.architecture, t.plan.precision, t.plan.recompute) for t in trials] == [
        (heavy, *settings) for heavy in (True, False) for settings in (("fp32", False), ("bf16", False), ("bf16", True))
    ]


def test_a_change_that_saves_nothing_is_not_kept() -> None:
    plans = [tried.plan for tried in changes(ASKED, "bf16", costlier_in_bf16)]
    assert plans[:3] == [Plan(1), Plan(1, "bf16"), Plan(1, recompute=True)]


def test_no_lower_precision_is_tried_where_there_is_none() -> None:
    assert {tried.plan.precision for tried in changes(ASKED, None, trial)} == {"fp32"}


def test_what_was_asked_for_stays() -> None:
    asked = trial(PAPER, Plan(1, "fp16", recompute=True))
    assert all(tried.plan.recompute for tried in changes(asked, None, trial))
    assert [tried.plan for tried in changes(asked, None, trial)] == [asked.plan]  # of the light network


def test_freed_memory_is_kept_only_where_there_is_room_for_it() -> None:
    tight = free_for(ASKED.estimate.peak / MEGABYTE)
    assert ASKED.fits(tight)
    assert not ASKED.has_room(tight)
    assert ASKED.has_room(int(tight * HEAP_GROWTH))


def test_a_cpu_takes_bf16_only_where_it_has_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, precision in (("AVX2", None), ("AVX512", "bf16")):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert lower_precision(torch.device("cpu")) == precision


def test_lighter_networks_are_networks() -> None:
    assert {*LIGHTER, *LIGHTER.values()} <= set(NETWORKS)
