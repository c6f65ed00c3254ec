"""Evaluation exactly as the service serves: same decoding, same geometry, same metrics."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from service.geometry import label_map, network_input, upright_rgb, working_size
from service.metrics import ConfusionMatrix
from training.data.datasets import Reader

# (N, H, W, 3) uint8 -> (N, C, H / output_stride, W / output_stride) float32: the model file's own signature.
Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


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


def evaluate(
    scores: Scorer, reader: Reader, classes: int, *, long_side: int | None, pad_value: int, stride: int, output_stride: int
) -> ConfusionMatrix:
    """The confusion matrix of a whole split, at each image's original size."""
    confusion = ConfusionMatrix(classes)
    for stem in tqdm(reader.stems(), desc="evaluate", unit="image", leave=False, mininterval=2):
        with reader.image(stem) as stored:
            image, _ = upright_rgb(stored)
        working = working_size(*image.size, long_side)
        result = scores(network_input(image, working, stride, pad_value))[0]
        confusion.update(reader.labels(stem), label_map(result, working, image.size, output_stride))
    return confusion
