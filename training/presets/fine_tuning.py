"""Recipes to fine-tune a shipped model on a few images of the user's own: one for each architecture of these models."""

from dataclasses import replace

from training.data.augment import Augmentation
from training.presets import animals, camvid, nuclei
from training.presets.preset import AdamW, Preset


def _on(trained: Preset, augmentation: Augmentation) -> Preset:
    """The recipe that continues `trained` and prepares images in the same way, but for the augmentation."""
    return replace(
        trained,
        name=f"fine-tune-{trained.architecture}",
        dataset="folder",
        epochs=40,  # for 20 images; more images need fewer: see `training.fine_tuning`
        batch=4,
        optimizer=AdamW(learning_rate=3e-4, head_learning_rate=3e-3, weight_decay=0.05),
        start=trained.name,
        frozen_stride=0,
        warmup_epochs=1,
        averaging=0.95,
        seed=0,
        augmentation=augmentation,
    )


_PHOTOS = Augmentation(crop=(320, 320))
FINE_TUNING = (
    _on(animals.LITE0_WHOLE, _PHOTOS),
    _on(animals.LITE2_WHOLE, _PHOTOS),
    _on(camvid.LITE2, camvid.LITE2.augmentation),
    _on(nuclei.LITE0_UNET, nuclei.LITE0_UNET.augmentation),
)
