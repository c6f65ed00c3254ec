"""How pixels are passed to a graph, and how its scores are read."""

import numpy as np
from numpy.typing import NDArray

from service.contract import INPUT_NAME, OUTPUT_NAME
from service.geometry import fitted, padded_size, working_size


class Interface:
    """The interface of models that this project exports: uint8 RGB (N, H, W, 3) in, float32 scores (N, C, h, w) out."""

    input_name, output_name = INPUT_NAME, OUTPUT_NAME
    fixed_size: tuple[int, int] | None = None  # (width, height) in pixels, if the graph takes only that size

    def working_size(self, width: int, height: int, long_side: int | None) -> tuple[int, int]:
        """(width, height) as `geometry.working_size` gives it; shrunk to fit into the graph's fixed size, if there is one."""
        if self.fixed_size is None:
            return working_size(width, height, long_side)
        return fitted(width, height, *(min(side, long_side or side) for side in self.fixed_size))

    def padded_size(self, width: int, height: int, stride: int) -> tuple[int, int]:
        """(width, height) of a working size with padding: the graph's fixed size, else as `geometry.padded_size` gives it."""
        return self.fixed_size or padded_size(width, height, stride)

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """(1, H, W, 3) uint8 RGB -> the graph's input for this image."""
        return pixels

    def given_shape(self, count: int, classes: int, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of the graph's output for N = `count` images; `height` and `width` are those of the scores."""
        return count, classes, height, width

    def restore(self, scores: NDArray[np.generic]) -> NDArray[np.float32]:
        """The graph's output -> (N, C, h, w) float32."""
        return scores  # type: ignore[return-value]
