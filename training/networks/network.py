"""What trainer, exporter and service need of a network."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from training.networks.backbone import Backbone


class SegmentationNetwork(nn.Module, ABC):
    """Class scores for an image, computed by convolutions alone.

    Input: uint8-valued RGB (N, 3, H, W) as float in 0..255, H and W multiples of `stride`; it is normalised
    inside. Output: scores (N, C, H / output_stride, W / output_stride). The last bilinear enlargement to the
    user's image is not part of the network: see `service.geometry`.
    """

    backbone: Backbone
    stride: int
    output_stride: int

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor: ...

    @abstractmethod
    def class_layers(self) -> list[nn.Module]:
        """The layers whose channels are the classes: new classes need new ones."""
