"""Evaluation exactly as the service serves: same decoding, same geometry, same metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from tqdm import tqdm

from service.geometry import label_map, network_input, working_size
from service.metrics import ConfusionMatrix
from training.data.reader import Reader, read_upright
from training.networks.network import SegmentationNetwork
from training.presets.preset import Preset

# (N, H, W, 3) uint8 -> (N, C, H / output_stride, W / output_stride) float32: the model file's own signature.
Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Segmenter:
    """A model and the geometry it is served with: from a photo to its labels."""

    scores: Scorer
    long_side: int | None
    pad_value: int
    stride: int
    output_stride: int

    def labels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Upright RGB image -> (H, W) uint8 class ids at its own size."""
        working = working_size(*image.size, self.long_side)
        scores = self.scores(network_input(image, working, self.stride, self.pad_value))[0]
        return label_map(scores, working, image.size, self.output_stride)


def torch_scorer(network: nn.Module) -> Scorer:
    """A scorer that runs `network`, as it stands, in evaluation mode on its own device."""
    network.eval()
    device = next(network.parameters()).device

    @torch.inference_mode()
    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.tensor(image, device=device).permute(0, 3, 1, 2).float()
        result: NDArray[np.float32] = network(pixels).float().cpu().numpy()
        return result

    return scores


def torch_segmenter(network: SegmentationNetwork, preset: Preset) -> Segmenter:
    """`network` with the geometry that `preset` gives it."""
    return Segmenter(torch_scorer(network), preset.long_side, preset.pad_value, network.stride, network.output_stride)


def evaluate(segmenter: Segmenter, reader: Reader, classes: int, stems: Sequence[str] | None = None) -> ConfusionMatrix:
    """The confusion matrix of a split, or of some of its images, at each image's original size."""
    confusion = ConfusionMatrix(classes)
    for stem in tqdm(reader.stems() if stems is None else stems, desc="evaluate", unit="image", leave=False, mininterval=2):
        confusion.update(reader.labels(stem), segmenter.labels(read_upright(reader, stem)))
    return confusion
