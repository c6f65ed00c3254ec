"""A person's own labelled images, few of them, on top of a shipped model."""

from dataclasses import replace

from training.data.augment import Augmentation
from training.presets import animals
from training.presets.preset import AdamW, Preset

LITE0 = Preset(
    name="fine-tune-fcn8s-lite0",
    architecture="fcn8s-lite0",
    dataset="folder",
    long_side=512,
    pad_value=127,
    augmentation=Augmentation(crop=(320, 320)),
    epochs=40,  # of 20 images; more images need fewer: `training.fine_tuning`
    batch=4,
    optimizer=AdamW(learning_rate=3e-4, head_learning_rate=3e-3, weight_decay=0.05),
    start=animals.LITE0_WHOLE.name,
    warmup_epochs=1,
    averaging=0.95,
)

LITE2 = replace(LITE0, name="fine-tune-fcn8s-lite2", architecture="fcn8s-lite2", start=animals.LITE2_WHOLE.name)

FINE_TUNING = (LITE0, LITE2)
