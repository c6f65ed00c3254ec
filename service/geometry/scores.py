"""From the network's scores to the labels of the image's own pixels."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STRIP_BYTES = 1 << 21  # enlarged scores held at once: enough for few numpy calls, and still within the CPU's cache


class Axis(NamedTuple):
    """One axis of an image and of its scores."""

    user: int  # pixels at the user's size
    working: int  # pixels at the network's input, before padding
    output_stride: int
    cells: int  # scores


def places(axis: Axis, start: int, end: int) -> NDArray[np.float64]:
    """Positions of the user's pixels `start` to `end` on the grid of scores: (end - start,) float64, each in 0..cells - 1.

    Pixel x lies at u = (x + 0.5) * working / (user * output_stride) - 0.5, clamped to the grid (align_corners=False).
    """
    u = (np.arange(start, end) + 0.5) * axis.working / (axis.user * axis.output_stride) - 0.5
    return np.clip(u, 0, axis.cells - 1)


def enlarge(
    scores: NDArray[np.float32], working: tuple[int, int], user: tuple[int, int], output_stride: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Enlarge (C, h, w) scores of the padded image to the user's size (width, height), strip by strip.

    The trainer and the exporter use this. The service computes the same block by block (`service.results.blocks`);
    tests/service/results/test_winners.py checks that both agree.
    `working` is the image's (width, height) at the network's input, before padding. Yields (first row, strip) from the top
    down; a strip is (rows, C, W) float32. All strips share one buffer: copy a strip to keep it. The caller may overwrite it.
    """
    channels, cells_y, cells_x = scores.shape
    width, height = user
    x = places(Axis(width, working[0], output_stride, cells_x), 0, width)
    y = places(Axis(height, working[1], output_stride, cells_y), 0, height)
    before_x, before_y = x.astype(np.intp), y.astype(np.intp)
    weight_x, weight_y = (x - before_x).astype(np.float32), (y - before_y).astype(np.float32)
    wide = scores.take(np.minimum(before_x + 1, cells_x - 1), 2)
    left = scores.take(before_x, 2)
    wide -= left
    wide *= weight_x
    wide += left
    by_row = wide.swapaxes(0, 1).copy()  # (h, C, W)
    rows_per_strip = max(1, STRIP_BYTES // (channels * width * 4))
    strip = np.empty((min(rows_per_strip, height), channels, width), np.float32)
    for top in range(0, height, rows_per_strip):
        bottom = min(top + rows_per_strip, height)
        edges = [top, *(top + 1 + np.flatnonzero(np.diff(before_y[top:bottom]))), bottom]
        for start, end in pairwise(edges):  # pixel rows that lie between the same two rows of scores
            above = by_row[before_y[start]]
            below = by_row[min(before_y[start] + 1, cells_y - 1)]
            part = strip[start - top : end - top]
            np.multiply(below - above, weight_y[start:end, None, None], out=part)
            part += above
        yield top, strip[: bottom - top]


def label_strip(strip: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(rows, C, W) scores -> (rows, W) labels; ties go to the lowest id.

    A running maximum over the classes: ten times faster than `argmax` over a short axis.
    """
    best = strip[:, 0].copy()
    labels = np.zeros(best.shape, np.uint8)
    for class_id in range(1, strip.shape[1]):
        challenger = strip[:, class_id]
        won = (challenger > best).view(np.uint8)
        won *= np.uint8(class_id)
        np.maximum(labels, won, out=labels)  # class ids ascend, so the larger id is the newer winner
        np.maximum(best, challenger, out=best)
    return labels


def label_map(
    scores: NDArray[np.float32], working: tuple[int, int], user: tuple[int, int], output_stride: int
) -> NDArray[np.uint8]:
    """(C, h, w) scores -> (H, W) uint8 class ids at the user's size (width, height)."""
    labels = np.empty((user[1], user[0]), np.uint8)
    for top, strip in enlarge(scores, working, user, output_stride):
        labels[top : top + len(strip)] = label_strip(strip)
    return labels
