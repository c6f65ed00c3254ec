"""Draws the metrics of one run, and the mean IoU of several runs, by epoch."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from training.pictures.figure import color, line, literal, new_figure, png

IOU_PREFIX = "val_iou_"
Rows = Sequence[Mapping[str, str]]  # of `metrics.csv`; epochs count from 1


def curves(rows: Rows) -> bytes:
    """PNG: training loss on the left, validation mean IoU and each class's IoU on the right. At least one row."""
    figure = new_figure(11, 4)
    loss, iou = figure.subplots(1, 2)
    loss.plot(_epochs(rows), _column(rows, "train_loss"), marker=".")
    loss.set(title="training loss", xlabel="epoch", ylim=(0, None))
    names = [key for key in rows[0] if key.startswith(IOU_PREFIX)]
    for number, name in enumerate(names):
        iou.plot(_epochs(rows), _column(rows, name), line(number), color=color(number), linewidth=1)
    iou.plot(_epochs(rows), _column(rows, "val_mean_iou"), marker=".", color="black", linewidth=2.5)
    iou.set(title="validation IoU", xlabel="epoch", ylim=(0, 1))
    labels = [*(literal(name.removeprefix(IOU_PREFIX)) for name in names), "mean"]
    # Named here, not by the lines: matplotlib leaves a label that begins with "_" out of a legend.
    legend = iou.legend(iou.lines, labels, loc="upper left", fontsize="small", frameon=False, ncols=1 + len(names) // 16)
    legend.set_bbox_to_anchor((1, 1), iou.transAxes)
    for axes in (loss, iou):
        _ruled(axes)
    return png(figure, 100)


def compared_curves(runs: Mapping[str, Rows]) -> bytes:
    """PNG: the validation mean IoU of several runs by epoch, each under its title. At least one row each."""
    figure = new_figure(5.2, 3.2 + 0.2 * len(runs))
    axes = figure.subplots()
    for number, rows in enumerate(runs.values()):
        axes.plot(_epochs(rows), _column(rows, "val_mean_iou"), line(number), marker=".", color=color(number))
    axes.set(xlabel="epoch", ylabel="validation mean IoU", ylim=(0, None))
    figure.legend(axes.lines, [literal(title) for title in runs], loc="outside lower left", frameon=False)
    _ruled(axes)
    return png(figure)


def _epochs(rows: Rows) -> list[int]:
    return [int(row["epoch"]) for row in rows]


def _column(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _ruled(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
