"""A run's metrics table as a picture."""

import io
import itertools
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

IOU_PREFIX = "val_iou_"


def curves(rows: Sequence[Mapping[str, str]]) -> bytes:
    """PNG of `metrics.csv`'s rows: training loss on the left, validation mean IoU and each class's IoU on the right."""
    epochs = [int(row["epoch"]) + 1 for row in rows]  # an epoch's figures are taken at its end
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, iou = figure.subplots(1, 2)
    loss.plot(epochs, [float(row["train_loss"]) for row in rows], marker=".")
    loss.set(title="training loss", xlabel="epoch", ylim=(0, None))
    iou.plot(epochs, [float(row["val_mean_iou"]) for row in rows], marker=".", color="black", label="mean")
    names = [key for key in rows[0] if key.startswith(IOU_PREFIX)]
    for name, style in zip(names, itertools.cycle(["-", "--"]), strict=False):
        iou.plot(epochs, [float(row[name]) for row in rows], style, linewidth=1, label=name.removeprefix(IOU_PREFIX))
    iou.set(title="validation IoU", xlabel="epoch", ylim=(0, 1))
    iou.legend(fontsize="small")
    for axes in (loss, iou):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
