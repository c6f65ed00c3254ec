"""Draws the metrics of one run, and the mean IoU of several runs, by epoch."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from training.pictures.figure import color, line, new_figure, png

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
        label = name.removeprefix(IOU_PREFIX)
        iou.plot(_epochs(rows), _column(rows, name), line(number), color=color(number), linewidth=1, label=label)
    iou.plot(_epochs(rows), _column(rows, "val_mean_iou"), marker=".", color="black", linewidth=2.5, label="mean")
    iou.set(title="validation IoU", xlabel="epoch", ylim=(0, 1))
    iou.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False, ncols=1 + len(names) // 16)
    for axes in (loss, iou):
        _ruled(axes)
    return png(figure, 100)


def compared_curves(runs: Mapping[str, Rows]) -> bytes:
    """PNG: the validation mean IoU of several runs by epoch, each under its title. At least one row each."""
    figure = new_figure(5.2, 3.2 + 0.2 * len(runs))
    axes = figure.subplots()
    for number, (title, rows) in enumerate(runs.items()):
        figures = _column(rows, "val_mean_iou")
        axes.plot(_epochs(rows), figures, line(number), marker=".", color=color(number), label=title)
    axes.set(xlabel="epoch", ylabel="validation mean IoU", ylim=(0, None))
    figure.legend(loc="outside lower left", frameon=False)
    _ruled(axes)
    return png(figure)


def _epochs(rows: Rows) -> list[int]:
    return [int(row["epoch"]) for row in rows]


def _column(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _ruled(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
