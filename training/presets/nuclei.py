"""Cell nuclei in microscope images, segmented by a U-Net."""

from training.data.augment import Augmentation
from training.presets.preset import AdamW, Preset

LITE0_UNET = Preset(
    name="nuclei-unet",
    architecture="unet-lite0",
    dataset="nuclei",
    long_side=None,  # images keep the scale of the microscope
    pad_value=0,
    augmentation=Augmentation(crop=(256, 256), scale=(0.5, 2.0), turns=True),
    epochs=40,
    batch=16,
    optimizer=AdamW(learning_rate=1e-3, head_learning_rate=3e-3, weight_decay=0.05),
    start="efficientnet-lite",
    warmup_epochs=1,
    averaging=0.99,
)

NUCLEI = (LITE0_UNET,)
