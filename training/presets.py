"""Presets are data: everything a run depends on, frozen into its folder."""

from dataclasses import dataclass, replace

from training.data.augment import Augmentation
from training.errors import InputError


@dataclass(frozen=True)
class Preset:
    """One recipe. Two runs of one preset and seed on the same files and machine give the same weights."""

    name: str
    architecture: str  # a key of `training.networks.NETWORKS`
    dataset: str  # a key of `training.data.datasets.DATASETS`
    long_side: int | None  # evaluation and service shrink larger images to it, pixels
    pad_value: int  # of what lies outside the image, 0..255; near the normalisation's mean
    augmentation: Augmentation
    epochs: int
    batch: int  # crops per step
    learning_rate: float  # of the pretrained backbone, at the peak of the schedule
    head_learning_rate: float  # of the score layers
    warmup_epochs: float  # linear rise to the peak; then a half cosine to zero
    weight_decay: float  # AdamW's, decoupled; none on biases and normalisation
    averaging: float  # decay per step of the exponential moving average of the weights, which is what is shipped
    frozen_stride: int = 0  # backbone layers at this stride or finer keep the weights they start with; 0: none do
    seed: int = 0
    continues: str | None = None  # preset whose weights it starts from, given as --init; null: ImageNet's


_ANIMALS = Preset(
    name="animals-fcn8s-lite0",
    architecture="fcn8s-lite0",
    dataset="voc-animals",
    long_side=512,
    pad_value=127,
    augmentation=Augmentation(crop=320),
    epochs=12,
    batch=16,
    learning_rate=5e-4,
    head_learning_rate=2.5e-3,
    warmup_epochs=0.5,
    weight_decay=0.05,
    averaging=0.998,
)

# Whole photos instead of crops, gently: the last steps see what the service sees.
_ANIMALS_WHOLE = replace(
    _ANIMALS,
    name="animals-fcn8s-lite0-whole",
    augmentation=Augmentation(crop=448, scale=(0.6, 1.5)),
    epochs=2,
    batch=8,
    learning_rate=1.5e-4,
    head_learning_rate=7.5e-4,
    warmup_epochs=0.1,
    seed=1,
    continues=_ANIMALS.name,
)

_ANIMALS_LITE2 = replace(
    _ANIMALS,
    name="animals-fcn8s-lite2",
    architecture="fcn8s-lite2",
    epochs=16,
    frozen_stride=4,
)

PRESETS = {preset.name: preset for preset in (_ANIMALS, _ANIMALS_WHOLE, _ANIMALS_LITE2)}


def find_preset(name: str) -> Preset:
    """The preset of that name; raises InputError if there is none."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
