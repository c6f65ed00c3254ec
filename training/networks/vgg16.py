"""VGG-16 (Simonyan & Zisserman, 2015, arXiv:1409.1556, configuration D) with its fully connected layers as convolutions."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from training.networks.backbone import Backbone
from training.networks.normalisation import Normalisation

# The normalisation of the images that the published weights were trained on: (value - mean) / deviation.
CAFFE_NORMALISATION = Normalisation(mean=(104.00699, 116.66877, 122.67892), deviation=(1.0, 1.0, 1.0), order="BGR")
TORCHVISION_NORMALISATION = Normalisation(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375))

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each stage, before its pooling
DROPOUT = 0.5


@dataclass(frozen=True)
class Geometry:
    """Padding, fc6 kernel and channels of VGG-16 as an FCN."""

    first_padding: int  # of conv1_1, pixels
    fc6_kernel: int
    fc6_padding: int
    fc_channels: int  # of fc6 and fc7
    channels: tuple[int, ...] = (64, 128, 256, 512, 512)  # of each stage


# As in the FCN paper: whole images of any size fit, at the price of a wide margin and 134 million parameters.
PAPER = Geometry(first_padding=100, fc6_kernel=7, fc6_padding=0, fc_channels=4096)
# Every map has the size that its stride says, and fc6 and fc7 together are a twentieth of the paper's.
LIGHT = Geometry(first_padding=1, fc6_kernel=3, fc6_padding=1, fc_channels=1024)


class Vgg16(Backbone):
    """Features at the strides 2 to 32: the pooled output of each stage, except that stride 32 has the output of fc7.

    In the paper's geometry the maps are larger than `Backbone` says, by a margin that `training.networks.fcn_paper` crops.
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(self, geometry: Geometry, normalisation: Normalisation) -> None:
        super().__init__(normalisation)
        self.geometry = geometry
        self.channels = (*geometry.channels[:-1], geometry.fc_channels)
        stages: list[nn.Module] = []
        width, padding = 3, geometry.first_padding
        for stage, (outputs, count) in enumerate(zip(geometry.channels, CONVOLUTIONS, strict=True), 1):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for number in range(1, count + 1):
                layers[f"conv{stage}_{number}"] = nn.Conv2d(width, outputs, 3, padding=padding)
                layers[f"relu{stage}_{number}"] = nn.ReLU(inplace=True)
                width, padding = outputs, 1
            layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=True)  # Caffe's rounding
            stages.append(nn.Sequential(layers))
        self.stages = nn.ModuleList(stages)
        self.connected = nn.Sequential(
            OrderedDict[str, nn.Module](
                fc6=nn.Conv2d(width, geometry.fc_channels, geometry.fc6_kernel, padding=geometry.fc6_padding),
                relu6=nn.ReLU(inplace=True),
                drop6=nn.Dropout(DROPOUT),
                fc7=nn.Conv2d(geometry.fc_channels, geometry.fc_channels, 1),
                relu7=nn.ReLU(inplace=True),
                drop7=nn.Dropout(DROPOUT),
            )
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # keeps the activations' scale at any depth (He et al., 2015, arXiv:1502.01852)
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        x = self.normalise(image)
        for stage in self.stages:
            x = self.run(stage, x)
            features.append(x)
        return [*features[:-1], self.run(self.connected, x)]

    def layers_until(self, stride: int) -> list[nn.Module]:
        """The stages whose pooled output is at `stride` or finer."""
        return [stage for stage, its in zip(self.stages, self.strides, strict=True) if its <= stride]

    def published_names(self) -> dict[str, str]:
        """Our tensor names -> the well-known ones: conv1_1.weight to fc7.bias."""
        return {name: ".".join(name.split(".")[-2:]) for name in self.state_dict()}
