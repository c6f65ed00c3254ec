"""Chooses the recipe to fine-tune a model on the user's own labelled images."""

import re
from dataclasses import replace
from pathlib import Path

from training.data.dataset import Dataset
from training.errors import InputError
from training.files import read_metadata
from training.presets import find_preset
from training.presets.fine_tuning import FINE_TUNING
from training.presets.preset import Preset
from training.start import MODELS

SHIPPED = MODELS / "animals-fcn8s-lite0.safetensors"  # weights that fine-tuning starts from by default
# Crops seen in a run with many images; few images are learned by heart sooner, and the preset's epochs limit their crops.
CROPS = 6400
FEWEST_EPOCHS = 5


def model_name(source: Path) -> str:
    """A model's name, made from the name of its data, run or file: lower-case letters, digits and hyphens."""
    name = source.resolve().name.removesuffix(".zip").removesuffix(".safetensors")
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def fine_tuning(dataset: Dataset, data: Path, init: Path) -> Preset:
    """The recipe to fine-tune the model with the weights in the file `init` on the data set in `data`.

    Raises InputError if no recipe is for that model's architecture, or if there are no training images.
    """
    trained = find_preset(read_metadata(init).get("preset", ""))
    for preset in FINE_TUNING:
        if preset.architecture == trained.architecture:
            break
    else:
        raise InputError(f"there is no recipe to fine-tune {trained.architecture}; name a preset")
    images = len(dataset.train(data).stems())
    if images == 0:
        raise InputError(f"{data} has no training images")
    epochs = max(FEWEST_EPOCHS, min(preset.epochs, CROPS // images))
    return replace(preset, dataset=dataset.name, start=trained.name, epochs=epochs, batch=min(preset.batch, images))
