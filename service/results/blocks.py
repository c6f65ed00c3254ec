"""Splitting the user's pixels into blocks that fit the processor's cache, each with the scores that it is enlarged from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from service.geometry import Axis, places

BLOCK_BYTES = 5 << 20  # enlarged scores of a block: most small images are one, and those of a class stay in the cache,
BLOCK_PIXELS = 1 << 14  # ... but at least this many pixels, since each block has a fixed cost
BLOCK_COLUMNS, BLOCK_SCORES = 512, 128  # most pixels across a block; most scores along each of its sides
HELD_BYTES = 1 << 25  # scores for a row of blocks, of which there are up to three copies; a row of pixels needs two of scores
WEIGHTS_KEPT = 64  # sets of weights, each of at most some 256 KB, mostly 20: many clients send images of one size
PIECE_ROWS = 64  # rows of pixels enlarged by one matrix product: the fewer rows, the fewer scores the product reads


@dataclass(frozen=True)
class Block:
    """A block of the user's pixels with the scores for it, in n pieces one above the other, each of h rows of pixels.

    Piece i is `rows[i]` @ `scores[:, i]` @ `columns`. The last piece may reach below the block.
    """

    left: int
    top: int
    height: int
    scores: NDArray[np.float32]  # (C, n, k, l)
    rows: NDArray[np.float32]  # (n, h, k): weight of each row of scores for each row of pixels; at most two are not 0
    columns: NDArray[np.float32]  # (l, width): weight of each column of scores for each column of pixels

    @property
    def slices(self) -> tuple[slice, slice]:
        """The block's rows and columns among the user's pixels."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.columns.shape[1])


def blocks(
    bands: Iterable[NDArray[np.float32]], cells_y: int, working: tuple[int, int], user: tuple[int, int], output_stride: int
) -> Iterator[Block]:
    """Split the user's pixels into blocks, from the top and then from the left, each with the scores and weights that it needs.

    `bands` are the scores from the top, (C, some rows, w) each, `cells_y` rows in all; each band is taken when it is needed.
    `working` and `user` are (width, height). Only one band and the scores of a row of blocks are held at a time.
    """
    source = iter(bands)
    band = next(source)
    channels, reached, cells_x = band.shape
    held = [(0, band)]  # (index of the first row, scores)
    del band
    width, height = user
    x, y = Axis(width, working[0], output_stride, cells_x), Axis(height, working[1], output_stride, cells_y)
    most = max(1, int(BLOCK_SCORES * min(user[0] / working[0], user[1] / working[1]) * output_stride))
    most_columns = min(BLOCK_COLUMNS, most, width)
    most_rows = min(max(1, max(BLOCK_BYTES // (4 * channels), BLOCK_PIXELS) // most_columns), most)
    row_bytes = 4 * channels * cells_x * working[1] / (output_stride * height)  # of scores, for each row of pixels
    most_rows = min(most_rows, max(1, int(HELD_BYTES / row_bytes)))
    columns = []
    for left in range(0, width, most_columns):
        [across], [weights] = _weights(x, left, min(left + most_columns, width), most_columns)
        columns.append((left, slice(across[0], across[-1] + 1), np.ascontiguousarray(weights.T)))
    for top in range(0, height, most_rows):
        cells, rows = _weights(y, top, min(top + most_rows, height), PIECE_ROWS)
        first, end = int(cells[0, 0]), int(cells[-1, -1]) + 1
        while reached < end:  # while the next band is computed, only the rows that are still needed are kept
            held = [(max(at, first), part[:, max(0, first - at) :].copy()) for at, part in held]
            band = next(source)
            held.append((reached, band))
            reached += band.shape[1]
            del band
        needed = np.concatenate([part[:, max(0, first - at) : end - at] for at, part in held], 1)
        scores = needed.take(cells - first, 1)
        for left, across, weights in columns:
            yield Block(left, top, min(most_rows, height - top), scores[..., across], rows, weights)


@lru_cache(WEIGHTS_KEPT)
def _weights(axis: Axis, start: int, end: int, most: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Split the pixels `start` to `end` into n pieces of at most `most` pixels. The last piece is padded with its last pixel.

    Returns (n, k) indices of the scores that each piece lies between, and (n, h, k) their weights for each of its h pixels;
    both are shared, and must not be written to.
    """
    positions = places(axis, start, end)
    count = -(-len(positions) // most)
    length = -(-len(positions) // count)
    pieces = positions[np.minimum(np.arange(count * length), len(positions) - 1)].reshape(count, length)
    above, below = pieces[:, 0].astype(np.intp), np.minimum(pieces[:, -1].astype(np.intp) + 2, axis.cells)
    between = int((below - above).max())
    indices = np.minimum(above, below[-1] - between)[:, None] + np.arange(between)
    distances = np.abs(pieces[:, :, None] - indices[:, None])
    return indices, np.maximum(0, 1 - distances).astype(np.float32)
