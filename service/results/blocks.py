"""Blocks of the user's pixels, each with the scores that it is enlarged from: too many at once would not stay in the cache."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.geometry import places

BLOCK_BYTES = 1 << 21  # enlarged scores of a block: those of a class stay in the cache,
BLOCK_PIXELS = 1 << 14  # ... but at least so many pixels, since each block costs some time of its own
BLOCK_COLUMNS, BLOCK_SCORES = 512, 128  # at most: the products of matrices are as long as there are scores


@dataclass(frozen=True)
class Block:
    """A block of the user's pixels, and the scores that it is enlarged from: `rows` @ `scores` @ `columns`."""

    left: int
    top: int
    scores: NDArray[np.float32]  # (C, k, l)
    rows: NDArray[np.float32]  # (height, k): what each score counts for each row of pixels; two of them, or one
    columns: NDArray[np.float32]  # (l, width): as much for the columns

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns among the user's pixels."""
        (height, _), (_, width) = self.rows.shape, self.columns.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def blocks(
    bands: Iterable[NDArray[np.float32]], cells_y: int, working: tuple[int, int], user: tuple[int, int], output_stride: int
) -> Iterator[Block]:
    """How scores of the padded image are enlarged to the user's size, by rows of blocks from the top, each from the left.

    `bands` are the scores from the top, (C, some rows, w) each, `cells_y` rows in all; each is taken when it is needed.
    `working` and `user` are (width, height). No more is held than one band, and the scores of a row of blocks.
    """
    source = iter(bands)
    band = next(source)
    channels, reached, cells_x = band.shape
    held = [(0, band)]  # scores, with their first row among all
    del band
    width, height = user
    x, y = places(width, working[0], output_stride, cells_x), places(height, working[1], output_stride, cells_y)
    most = max(1, int(BLOCK_SCORES * min(user[0] / working[0], user[1] / working[1]) * output_stride))
    most_columns = min(BLOCK_COLUMNS, most, width)
    most_rows = min(max(1, max(BLOCK_BYTES // (4 * channels), BLOCK_PIXELS) // most_columns), most)
    columns = []
    for left in range(0, width, most_columns):
        (first, end), weights = _weights(x[left : left + most_columns], cells_x)
        columns.append((left, slice(first, end), np.ascontiguousarray(weights.T)))
    for top in range(0, height, most_rows):
        (first, end), rows = _weights(y[top : top + most_rows], cells_y)
        while reached < end:  # of what was there, only the rows that are needed still are while the next band is computed
            held = [(max(at, first), part[:, max(0, first - at) :].copy()) for at, part in held]
            band = next(source)
            held.append((reached, band))
            reached += band.shape[1]
            del band
        # Copied, so that no block holds more than it shows.
        scores = np.concatenate([part[:, max(0, first - at) : end - at] for at, part in held], 1)
        for left, cells, weights in columns:
            yield Block(left, top, scores[:, :, cells], rows, weights)


def _weights(places: NDArray[np.float64], cells: int) -> tuple[tuple[int, int], NDArray[np.float32]]:
    """Of pixels in their order: the scores that they lie between, (first, end), and what each counts for each pixel."""
    first, end = int(places[0]), min(int(places[-1]) + 2, cells)
    distances = np.abs(places[:, None] - np.arange(first, end))
    return (first, end), np.maximum(0, 1 - distances).astype(np.float32)
