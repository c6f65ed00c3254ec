"""The parity gate: a model file is written only if the exported model gives the scores of the network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.geometry import label_map
from training.errors import GateError
from training.evaluate import Scorer

MAX_RELATIVE_DIFFERENCE = 1e-4  # as a share of the largest absolute score
MIN_LABEL_AGREEMENT = 0.9999
# (images, height, width) in strides: the smallest input, odd multiples, both orientations, one and three images.
SHAPES = ((1, 1, 1), (1, 3, 5), (3, 1, 3), (3, 7, 5), (1, 11, 15), (3, 9, 13))


class ParityError(GateError):
    """The exported model differs from the network by more than the gate allows."""


@dataclass(frozen=True)
class Parity:
    """The worst agreement over all probe images."""

    relative_difference: float  # largest score difference over the largest absolute score
    label_agreement: float  # share of pixels with the same label at the input's own size, 0..1

    def __str__(self) -> str:
        return f"largest score difference {self.relative_difference:.1e} (relative), label agreement {self.label_agreement:.4%}"


def require_parity(reference: Scorer, exported: Scorer, stride: int, output_stride: int) -> Parity:
    """Compare two scorers on images of every shape in SHAPES. Raises ParityError if they differ by more than the limits."""
    random = np.random.default_rng(0)
    differences, agreements = list[float](), list[float]()
    for images, rows, columns in SHAPES:
        probe = np.stack([_probe(rows * stride, columns * stride, random) for _ in range(images)])
        expected, found = reference(probe), exported(probe)
        if expected.shape != found.shape:
            raise ParityError(f"scores have shape {found.shape} instead of {expected.shape}")
        differences.append(float(np.abs(expected - found).max() / np.abs(expected).max()))
        agreements.append(_agreement(expected, found, output_stride))
    parity = Parity(float(np.max(differences)), min(agreements))  # np.max, unlike max, always passes NaN on
    if not (parity.relative_difference <= MAX_RELATIVE_DIFFERENCE and parity.label_agreement >= MIN_LABEL_AGREEMENT):
        raise ParityError(f"the exported model differs from the network: {parity}")
    return parity


def _agreement(expected: NDArray[np.float32], found: NDArray[np.float32], output_stride: int) -> float:
    """Share of pixels, 0..1, with the same label after the service's enlargement of (N, C, h, w) scores."""
    size = (expected.shape[3] * output_stride, expected.shape[2] * output_stride)
    same = [
        label_map(one, size, size, output_stride) == label_map(other, size, size, output_stride)
        for one, other in zip(expected, found, strict=True)
    ]
    return float(np.mean(same))


def _probe(height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: soft coloured blobs with fine noise on top, nearer to a photo than plain noise."""
    blobs = Image.fromarray(random.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy: NDArray[np.int64] = smooth + random.integers(-20, 21, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8)
