"""Evaluation by the service's rules: the same image decoding, geometry and metrics.

The service's label code is another, and tests/service/results/test_winners.py compares the two.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import nn
from tqdm import tqdm

from service.geometry import enlarge, label_map, network_input, working_size
from service.metrics import ConfusionMatrix
from training.data.reader import Reader, read_pair
from training.networks.network import SegmentationNetwork
from training.presets.preset import Preset

# (N, H, W, 3) uint8 -> (N, C, H / output_stride, W / output_stride) float32: the signature of a model file.
Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Labeller(Protocol):
    """Anything that gives every pixel of an image a class."""

    def labels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Upright RGB image -> (H, W) uint8 class ids at the image's own size."""
        ...


@dataclass(frozen=True)
class Segmenter:
    """A model with the geometry that the service uses for it: turns a photo into labels."""

    scores: Scorer
    long_side: int | None
    pad_value: int
    stride: int
    output_stride: int

    def labels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Upright RGB image -> (H, W) uint8 class ids at the image's own size."""
        working = working_size(*image.size, self.long_side)
        scores = self.scores(network_input(image, working, self.stride, self.pad_value))[0]
        return label_map(scores, working, image.size, self.output_stride)


@dataclass(frozen=True)
class AugmentedSegmenter:
    """Test-time augmentation: averages a model's class probabilities over several scales of an image and its mirror image.

    As in Chen et al. (2018, arXiv:1802.02611, section 4.1). The probabilities are averaged at the image's own size.
    """

    model: Segmenter
    mirrored: bool  # whether to use the mirror image too
    scales: tuple[float, ...]  # factors on the working size; above 1 enlarges

    def labels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Upright RGB image -> (H, W) uint8 class ids at the image's own size."""
        model = self.model
        working = working_size(*image.size, model.long_side)
        total = np.zeros((image.height, 1, image.width), np.float32)
        for scale, mirror in itertools.product(self.scales, (False, True) if self.mirrored else (False,)):
            seen = ImageOps.mirror(image) if mirror else image
            size = (max(1, round(working[0] * scale)), max(1, round(working[1] * scale)))
            scores = model.scores(network_input(seen, size, model.stride, model.pad_value))[0]
            strips = enlarge(scores, size, image.size, model.output_stride)
            believed = np.concatenate([_softmax(strip) for _, strip in strips])  # (H, C, W)
            total = total + (believed[..., ::-1] if mirror else believed)
        labels: NDArray[np.uint8] = total.argmax(1).astype(np.uint8)
        return labels


def _softmax(strip: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the class axis of (rows, C, W)."""
    powers = np.exp(strip - strip.max(1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(1, keepdims=True)
    return result


def torch_scorer(network: nn.Module) -> Scorer:
    """A scorer that runs `network` itself, not a copy, in evaluation mode on the device that holds it."""
    network.eval()
    device = next(network.parameters()).device

    @torch.inference_mode()
    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.tensor(image, device=device).permute(0, 3, 1, 2).float()
        result: NDArray[np.float32] = network(pixels).float().cpu().numpy()
        return result

    return scores


def torch_segmenter(network: SegmentationNetwork, preset: Preset) -> Segmenter:
    """A segmenter of `network` with the geometry of `preset`."""
    return Segmenter(torch_scorer(network), preset.long_side, preset.pad_value, network.stride, network.output_stride)


def evaluate(segmenter: Labeller, reader: Reader, classes: int, stems: Sequence[str] | None = None) -> ConfusionMatrix:
    """The confusion matrix of a split, or of the images `stems` in it, at each image's original size."""
    confusion = ConfusionMatrix(classes)
    for stem in tqdm(reader.stems() if stems is None else stems, desc="evaluate", unit="image", leave=False, mininterval=2):
        image, truth = read_pair(reader, stem)
        confusion.update(truth, segmenter.labels(image))
    return confusion
