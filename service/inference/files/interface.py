"""How a graph takes pixels and gives scores."""

import numpy as np
from numpy.typing import NDArray

from service.contract import INPUT_NAME, OUTPUT_NAME
from service.geometry import fitted, padded_size, working_size


class Interface:
    """Of the models that this project exports: uint8 RGB (N, H, W, 3) in, float32 scores out."""

    input_name, output_name = INPUT_NAME, OUTPUT_NAME
    fixed_size: tuple[int, int] | None = None  # (width, height) in pixels, where the graph takes no other

    def working_size(self, width: int, height: int, long_side: int | None) -> tuple[int, int]:
        """As the geometry's; it fits into the graph's one size, where there is one."""
        if self.fixed_size is None:
            return working_size(width, height, long_side)
        return fitted(width, height, *(min(side, long_side or side) for side in self.fixed_size))

    def padded_size(self, width: int, height: int, stride: int) -> tuple[int, int]:
        """As the geometry's, of a working size; the graph's one size, where there is one."""
        return self.fixed_size or padded_size(width, height, stride)

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """(1, H, W, 3) uint8 RGB -> what the graph takes."""
        return pixels

    def given_shape(self, count: int, classes: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Of what the graph gives for N = `count` images."""
        return count, classes, height, width

    def restore(self, scores: NDArray[np.generic]) -> NDArray[np.float32]:
        """What the graph gives -> (1, C, h, w) float32."""
        return scores  # type: ignore[return-value]
