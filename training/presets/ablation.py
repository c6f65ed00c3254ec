"""Ablation: what each part of a recipe contributes, by a shortened run of the whole recipe and runs without each part.

    python -m training train ablation-camvid --data DIR --out runs/ablation-camvid --init models/animals-fcn8s-lite2.safetensors

The recipes of CamVid and the nuclei have a quarter of their epochs, CamVid also half the image size. All presets need that
--init except `ablation-imagenet` and the nuclei, which need none, and the animals, which need
models/animals-fcn8s-lite0.safetensors. docs/ablation/train.sh makes all runs and the pages.
"""

from dataclasses import replace

from training.data.augment import Augmentation
from training.presets import animals, camvid, nuclei
from training.presets.preset import Loss

_VARIED = Augmentation(crop=(224, 160), scale=(0.3, 0.9))

WHOLE = replace(
    camvid.LITE2,
    name="ablation-camvid",
    title="the recipe",
    long_side=240,
    augmentation=_VARIED,
    epochs=12,
    warmup_epochs=1,
    averaging=0.98,
)

# The part of the nuclei's recipe that CamVid's lacks: quarter turns.
TURNED = replace(nuclei.LITE0_UNET, name="ablation-nuclei", title="the recipe", epochs=10, averaging=0.96)
_UPRIGHT = replace(TURNED.augmentation, turns=False)

# One more epoch of the animals' last stage on large crops, to compare with one on crops as in the stage before.
ENDED = replace(animals.LITE0_WHOLE, name="ablation-animals", title="on whole photos", epochs=1)

ABLATION = (
    WHOLE,
    replace(WHOLE, name="ablation-imagenet", title="from ImageNet weights", start="efficientnet-lite"),
    replace(WHOLE, name="ablation-cross-entropy", title="without the Jaccard loss", loss=Loss()),
    replace(WHOLE, name="ablation-log", title="with log class weights", loss=Loss("log", jaccard=1.0)),
    replace(WHOLE, name="ablation-median", title="with median-frequency weights", loss=Loss("median-frequency", jaccard=1.0)),
    replace(WHOLE, name="ablation-fcn8s", title="without the refining U-Net", architecture="fcn8s-lite2"),
    replace(WHOLE, name="ablation-last", title="without averaged weights", averaging=0.0),
    replace(WHOLE, name="ablation-constant", title="with a constant rate", schedule="constant"),
    replace(WHOLE, name="ablation-frozen", title="with layers up to stride 4 frozen", frozen_stride=4),
    replace(WHOLE, name="ablation-one-scale", title="without scaling", augmentation=replace(_VARIED, scale=(0.5, 0.5))),
    replace(WHOLE, name="ablation-colors", title="without changed colours", augmentation=replace(_VARIED, jitter=0.0)),
    replace(WHOLE, name="ablation-mirror", title="without mirror images", augmentation=replace(_VARIED, flip=0.0)),
    replace(WHOLE, name="ablation-warm-up", title="without warming up", warmup_epochs=0.0),
    TURNED,
    replace(TURNED, name="ablation-nuclei-turns", title="without quarter turns", augmentation=_UPRIGHT),
    ENDED,
    replace(ENDED, name="ablation-animals-crops", title="on crops", augmentation=animals.LITE0.augmentation),
)
