"""A network that learns coloured shapes in seconds, and a recipe for it."""

from itertools import pairwise

from torch import Tensor, nn

from training.data.augment import Augmentation
from training.data.datasets import DATASETS
from training.networks.backbone import Backbone
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation
from training.presets.preset import AdamW, Preset

ARCHITECTURE = "fcn8s-tiny"
DATASET = DATASETS["voc-animals"]
PRESET = Preset(
    name="shapes-fcn8s-tiny",
    architecture=ARCHITECTURE,
    dataset=DATASET.name,
    long_side=160,
    pad_value=127,
    augmentation=Augmentation(crop=(96, 96), scale=(0.8, 1.25), jitter=0.1),
    epochs=2,
    batch=4,
    optimizer=AdamW(learning_rate=5e-3, head_learning_rate=2e-2, weight_decay=0.01),
    start="scratch",
    warmup_epochs=0.5,
    averaging=0.9,
)


class TinyBackbone(Backbone):
    """Five convolutions, each halving the size."""

    strides = (8, 16, 32)
    channels = (24, 32, 48)

    def __init__(self) -> None:
        super().__init__(Normalisation())
        widths = (3, 12, 16, *self.channels)
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6())
            for inputs, outputs in pairwise(widths)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        x = self.normalise(image)
        for step in self.steps:
            x = self.run(step, x)
            features.append(x)
        return features[-len(self.strides) :]

    def layers_until(self, stride: int) -> list[nn.Module]:
        """The steps whose output is at `stride` or finer."""
        return [step for number, step in enumerate(self.steps) if 2 ** (number + 1) <= stride]


def tiny_fcn(classes: int, normalisation: Normalisation = Normalisation()) -> FCN:
    """FCN-8s on the tiny backbone, randomly initialised; `normalisation` must be the trainer's usual one."""
    assert normalisation == Normalisation()
    return FCN(TinyBackbone(), classes, 8)


def draw_weights(module: nn.Module) -> None:
    """Draw all values of `module` from a normal distribution, so that no layer is silent."""
    for parameter in module.parameters():
        nn.init.normal_(parameter)
