"""Draws a confusion matrix."""

from collections.abc import Sequence

import numpy as np

from service.metrics import ConfusionMatrix
from training.pictures.figure import literal, new_figure, png

CELL = 0.36  # inches: three digits are readable


def confusion_picture(confusion: ConfusionMatrix, classes: Sequence[str]) -> bytes:
    """PNG: rows are true classes, columns are estimates, figures are percentages of the true class's pixels.

    A class that the truth lacks has an empty row; figures below half a percent are left out.
    """
    totals = confusion.counts.sum(1, keepdims=True)
    shares = 100 * confusion.counts / np.where(totals > 0, totals, 1)
    side = CELL * len(classes) + 1.9
    figure = new_figure(max(side, 3.4), max(side, 3.4))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for true, row in enumerate(shares):
        for estimated, share in enumerate(row):
            if share >= 0.5:
                ink = "white" if share > 55 else "black"
                axes.text(estimated, true, f"{share:.0f}", color=ink, ha="center", va="center", fontsize=8)
    places, names = range(len(classes)), [literal(name) for name in classes]
    axes.set_xticks(places, names, rotation=90, fontsize=9)
    axes.set_yticks(places, names, fontsize=9)
    axes.set(xlabel="estimate", ylabel="truth")
    axes.set_title("% of the true class's pixels", fontsize=9)
    edges = np.arange(1, len(classes)) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    return png(figure)
