"""From a folder of labelled images to a recipe for them."""

import re
from dataclasses import replace
from pathlib import Path

from training.data.dataset import Dataset
from training.errors import InputError
from training.presets import find_preset
from training.presets.fine_tuning import FINE_TUNING
from training.presets.preset import Preset
from training.run_folder import read_metadata
from training.start import MODELS

SHIPPED = MODELS / "animals-fcn8s-lite0.safetensors"  # what a fine-tuning starts from unless another file is given
CROPS = 6400  # to be seen in a run, where the images are many; the fewer they are, the fewer can be seen before they are known
FEWEST_EPOCHS = 5


def model_name(source: Path) -> str:
    """A model's name from that of its data, run or file: lower-case letters, digits and hyphens."""
    name = source.resolve().name.removesuffix(".zip").removesuffix(".safetensors")
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def fine_tuning(dataset: Dataset, data: Path, init: Path) -> Preset:
    """The recipe for the data set in `data`, on top of the model whose weights are in the file `init`.

    Raises InputError if that model is of an architecture that no recipe knows.
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
