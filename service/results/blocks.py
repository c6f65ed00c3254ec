"""Blocks of the user's pixels, each with the scores that it is enlarged from: too many at once would not stay in the cache."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from service.geometry import Axis, axis

BLOCK_BYTES = 1 << 20  # enlarged scores of a block: they stay in the cache,
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
    first = next(source)
    channels, _, cells_x = first.shape
    width, height = user
    x, y = axis(width, working[0], output_stride, cells_x), axis(height, working[1], output_stride, cells_y)
    most = max(1, int(BLOCK_SCORES * min(user[0] / working[0], user[1] / working[1]) * output_stride))
    most_columns = min(BLOCK_COLUMNS, most, width)
    most_rows = min(max(1, max(BLOCK_BYTES // (4 * channels), BLOCK_PIXELS) // most_columns), most)
    columns = [(left, *_weights(x, left, min(left + most_columns, width))) for left in range(0, width, most_columns)]
    score_rows = chain.from_iterable(map(_by_row, chain([first], source)))
    del first  # a band is held by its rows alone, and they are let go of before the next is computed
    held: list[NDArray[np.float32]] = []  # rows of scores, those of a row of blocks
    taken = 0
    for top in range(0, height, most_rows):
        (first_row, end_row), row_weights = _weights(y, top, min(top + most_rows, height))
        held = held[len(held) - max(0, taken - first_row) :]
        new = list(islice(score_rows, end_row - taken))
        taken = end_row
        held = (held + new)[first_row - end_row :]  # an image that is shrunk needs not every row
        scores = np.stack(held, 1)
        del new
        held = list(_by_row(scores))
        for left, (first_cell, end_cell), column_weights in columns:
            part = np.ascontiguousarray(scores[:, :, first_cell:end_cell])
            yield Block(left, top, part, row_weights, column_weights.T)


def _by_row(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, h, w) -> (h, C, w), a view."""
    return scores.swapaxes(0, 1)


def _weights(axis: Axis, start: int, end: int) -> tuple[tuple[int, int], NDArray[np.float32]]:
    """Of the pixels from `start` to `end`: the scores that they need, (first, end), and what each counts for each pixel."""
    first, last = int(axis.low[start]), int(axis.high[end - 1])
    weights = np.zeros((end - start, last + 1 - first), np.float32)
    pixels = np.arange(end - start)
    weights[pixels, axis.low[start:end] - first] = 1 - axis.weight[start:end]
    weights[pixels, axis.high[start:end] - first] += axis.weight[start:end]
    return (first, last + 1), weights
