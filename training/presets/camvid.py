"""CamVid's street scenes at 480x360: the benchmark with comparable published figures.

Both presets start from the weights of an animals model; the class layers are drawn anew, and for the refined network the
whole head. `training.presets.ablation` measures what each part of the recipe contributes.
"""

from dataclasses import replace

from training.data.augment import Augmentation
from training.presets import animals
from training.presets.preset import AdamW, Loss, Preset

LITE0 = Preset(
    name="camvid-fcn8s-lite0",
    architecture="fcn8s-lite0",
    dataset="camvid",
    long_side=480,
    pad_value=127,
    augmentation=Augmentation(crop=(448, 320), scale=(0.6, 1.8)),
    epochs=40,
    batch=8,
    optimizer=AdamW(learning_rate=7e-4, head_learning_rate=3.5e-3, weight_decay=0.05),
    start=animals.LITE0_WHOLE.name,
    loss=Loss(jaccard=1.0),
    warmup_epochs=2,
    averaging=0.995,
)

LITE2 = replace(LITE0, name="camvid-refined-lite2", architecture="refined-lite2", epochs=50, start=animals.LITE2_WHOLE.name)

CAMVID = (LITE0, LITE2)
