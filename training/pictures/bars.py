"""Draws the IoU of each class as bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.pictures.figure import color, literal, new_figure, png

THICKNESS, GAP = 0.17, 0.13  # inches of one bar, and between two classes


def iou_bars(jaccard: Mapping[str, NDArray[np.float64]], classes: Sequence[str]) -> bytes:
    """PNG: a group of bars per class, with a bar for each run; `jaccard` maps run titles to (C,) indices, NaN where absent."""
    count = len(jaccard)
    group = count * THICKNESS + GAP
    figure = new_figure(5.2, len(classes) * group + 0.8 + (0.2 * count if count > 1 else 0))
    axes = figure.subplots()
    middles = np.arange(len(classes))
    thickness = THICKNESS / group  # of a class's height on the axis, which is 1
    shown = []
    for number, values in enumerate(jaccard.values()):
        places = middles + (number - (count - 1) / 2) * thickness
        bars = axes.barh(places, 100 * np.nan_to_num(values), thickness * 0.9, color=color(number))
        shown.append(bars.patches[0])
        figures = ["absent" if np.isnan(value) else f"{100 * value:.1f}" for value in values]
        axes.bar_label(bars, figures, padding=2, fontsize=7)
    axes.set_yticks(middles, [literal(name) for name in classes])
    axes.set(xlabel="IoU, %", xlim=(0, 108), ylim=(len(classes) - 0.5, -0.5))
    axes.set_xticks(range(0, 101, 20))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if count > 1:
        # Named here, not by the bars: matplotlib leaves a label that begins with "_" out of a legend.
        figure.legend(shown, [literal(title) for title in jaccard], loc="outside upper left", frameon=False)
    return png(figure)
