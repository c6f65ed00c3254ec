"""Cats, cows, dogs, horses, sheep and people: presets of the service's default models."""

from dataclasses import replace

from training.data.augment import Augmentation
from training.presets.preset import AdamW, Preset

LITE0 = Preset(
    name="animals-fcn8s-lite0",
    architecture="fcn8s-lite0",
    dataset="voc-animals",
    long_side=512,
    pad_value=127,
    augmentation=Augmentation(crop=(320, 320)),
    epochs=12,
    batch=16,
    optimizer=AdamW(learning_rate=5e-4, head_learning_rate=2.5e-3, weight_decay=0.05),
    start="efficientnet-lite",
    warmup_epochs=0.5,
    averaging=0.998,
)

# Larger crops, of most of a photo, at low learning rates: the last steps see images nearly as the service does.
LITE0_WHOLE = replace(
    LITE0,
    name="animals-fcn8s-lite0-whole",
    augmentation=Augmentation(crop=(448, 448), scale=(0.6, 1.5)),
    epochs=2,
    batch=8,
    optimizer=AdamW(learning_rate=1.5e-4, head_learning_rate=7.5e-4, weight_decay=0.05),
    start=LITE0.name,
    warmup_epochs=0.1,
    seed=1,
)

LITE2 = replace(LITE0, name="animals-fcn8s-lite2", architecture="fcn8s-lite2", frozen_stride=4)

LITE2_WHOLE = replace(
    LITE0_WHOLE, name="animals-fcn8s-lite2-whole", architecture="fcn8s-lite2", start=LITE2.name, epochs=4, frozen_stride=4
)

ANIMALS = (LITE0, LITE0_WHOLE, LITE2, LITE2_WHOLE)
