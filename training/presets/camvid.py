"""CamVid's street scenes at 480x360: the benchmark with comparable published figures."""

from dataclasses import replace

from training.data.augment import Augmentation
from training.presets.preset import AdamW, Preset

LITE0 = Preset(
    name="camvid-fcn8s-lite0",
    architecture="fcn8s-lite0",
    dataset="camvid",
    long_side=480,
    pad_value=127,
    augmentation=Augmentation(crop=(448, 320), scale=(0.6, 1.8)),
    epochs=60,
    batch=8,
    optimizer=AdamW(learning_rate=7e-4, head_learning_rate=3.5e-3, weight_decay=0.05),
    start="efficientnet-lite",
    warmup_epochs=2,
    averaging=0.995,
)

LITE2_UNET = replace(
    LITE0,
    name="camvid-unet-lite2",
    architecture="unet-lite2",
    optimizer=AdamW(learning_rate=5e-4, head_learning_rate=2e-3, weight_decay=0.05),
)

CAMVID = (LITE0, LITE2_UNET)
