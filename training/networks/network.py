"""The interface of a network that the trainer, the exporter and the service rely on."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from training.networks.backbone import Backbone


class SegmentationNetwork(nn.Module, ABC):
    """Class scores for an image, computed by convolutions alone.

    Input: uint8-valued RGB (N, 3, H, W) as float in 0..255, H and W multiples of `stride`; the network
    normalises it. Output: scores (N, C, H / output_stride, W / output_stride). The last bilinear enlargement to the
    user's image is not part of the network: see `service.geometry`.
    """

    backbone: Backbone
    stride: int
    output_stride: int

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor: ...

    @abstractmethod
    def class_layers(self) -> list[nn.Module]:
        """The layers with one channel per class: a network for other classes needs new ones."""
