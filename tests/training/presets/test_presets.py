"""Recipes fit what they name: networks, weights, and each other."""

import pytest
import torch

from training.data.datasets import DATASETS
from training.data.find import CVAT, FOLDER
from training.networks import NETWORKS
from training.networks.network import SegmentationNetwork
from training.optimizer import create_optimizer
from training.presets import PRESETS
from training.presets.preset import Preset
from training.start import SCRATCH, SOURCES, adopt
from training.weights.vgg16 import PUBLISHED

CONTINUING = [preset for preset in PRESETS.values() if preset.start in PRESETS]
TRAINED_ON = {name: published.normalisation for name, published in PUBLISHED.items()}  # what the published weights saw


def network_of(preset: Preset) -> SegmentationNetwork:
    """Its shapes alone: the largest has 134 million parameters."""
    with torch.device("meta"):
        return NETWORKS[preset.architecture](3, preset.normalisation)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_a_preset_names_what_there_is(preset: Preset) -> None:
    assert preset.architecture in NETWORKS
    assert preset.dataset in (*DATASETS, FOLDER, CVAT)
    assert preset.start in (SCRATCH, *SOURCES, *PRESETS)
    assert preset.warmup_epochs < preset.epochs


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_images_are_normalised_as_the_weights_know_them(preset: Preset) -> None:
    before = PRESETS[preset.start].normalisation if preset.start in PRESETS else TRAINED_ON.get(preset.start)
    assert before in (None, preset.normalisation)


@pytest.mark.parametrize("preset", CONTINUING, ids=[preset.name for preset in CONTINUING])
def test_a_preset_takes_the_weights_of_the_one_it_continues(preset: Preset) -> None:
    network, before = network_of(preset), network_of(PRESETS[preset.start]).state_dict()
    told = adopt(network, before)
    assert set(told.copied) | set(told.unused) == set(before)
    assert all(name.startswith("scores.") for name in told.unused)  # of an FCN, where a U-Net refines it anew
    assert set(network.backbone.state_dict()) == {name.removeprefix("backbone.") for name in told.copied if "backbone" in name}


def test_the_papers_solver_has_the_figures_of_the_authors() -> None:
    preset = PRESETS["paper-fcn8s-vgg16-atonce"]
    groups = create_optimizer(network_of(preset), preset.optimizer).param_groups
    assert [(group["peak"], group["weight_decay"], group["momentum"]) for group in groups] == [
        (1e-10, 0.0005, 0.99),
        (2e-10, 0.0, 0.99),
    ]
