"""The report's tables: results and costs as text, one line per run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.report.record import Record
from training.report.run import Run


@dataclass(frozen=True)
class Cell:
    """One entry of a table."""

    text: str
    best: bool = False  # whether it is the best of its column


@dataclass(frozen=True)
class Column:
    """One measure or setting of every run."""

    heading: str
    cells: tuple[Cell, ...]
    summary: bool = False  # whether it summarises the columns before it


@dataclass(frozen=True)
class Table:
    """A table with a line for each run."""

    caption: str
    runs: tuple[str, ...]
    columns: tuple[Column, ...]
    numbers: bool = True  # whether the cells are numbers, not words


def jaccard_table(runs: Sequence[Run]) -> Table:
    """The measures of areas: by class, their mean, their weighted mean, and pixel accuracy."""
    by_class = [_quality(name, [run.record.matrix.jaccard[number] for run in runs]) for number, name in _classes(runs)]
    summaries = (
        _quality("mean", [run.record.matrix.mean_iou for run in runs], summary=True),
        _quality("weighted mean", [run.record.matrix.weighted_iou for run in runs], summary=True),
        _quality("pixel accuracy", [run.record.matrix.pixel_accuracy for run in runs], summary=True),
    )
    caption = (
        "Jaccard index (IoU) of each class, its mean, its mean weighted by the classes' true pixels, and pixel accuracy, in %"
    )
    return Table(caption, _labels(runs), (*by_class, *summaries))


def cost_table(runs: Sequence[Run]) -> Table:
    """What training and the network cost, and two further measures."""
    return Table(
        "The network, its training, and two further measures of its best epoch",
        _labels(runs),
        (
            _column("parameters", runs, lambda record: f"{record.parameters:,}"),
            _column("GMAC for one 480x352 image", runs, lambda record: f"{record.gmac:.2f}"),
            _column("peak training memory, MiB", runs, lambda record: f"{record.peak_memory / 2**20:,.0f}"),
            _column("memory measured as", runs, lambda record: record.peak_memory_method),
            _column("training time", runs, lambda record: duration(record.seconds)),
            _column("best epoch of those trained", runs, lambda record: f"{record.best_epoch} of {record.epochs}"),
            _column("crop, pixels", runs, lambda record: "whole" if record.crop is None else "{}x{}".format(*record.crop)),
            _column("crops a step", runs, lambda record: f"{record.batch}"),
            _column("device", runs, lambda record: record.device),
            _column("threads", runs, lambda record: f"{record.threads}"),
            _quality("mean class accuracy, %", [run.record.matrix.mean_class_accuracy for run in runs]),
            _quality("mean boundary F-score, %", [run.record.mean_boundary_f for run in runs]),
        ),
    )


def boundary_table(runs: Sequence[Run]) -> Table:
    """The boundary F-score, which measures outlines, by class."""
    by_class = [_quality(name, [run.record.boundary_f[number] for run in runs]) for number, name in _classes(runs)]
    mean = _quality("mean", [run.record.mean_boundary_f for run in runs], summary=True)
    return Table("Boundary F-score of each class, in %", _labels(runs), (*by_class, mean))


def baseline_table(runs: Sequence[Run], baseline: Run) -> Table:
    """What each run gains over the baseline, in points of mean IoU."""
    figures = [run.record.matrix.mean_iou for run in runs]
    base = baseline.record.matrix.mean_iou
    changes = [
        "baseline" if run is baseline else f"{100 * (figure - base):+.1f}" for run, figure in zip(runs, figures, strict=True)
    ]
    columns = (
        Column("mean IoU, %", tuple(Cell(_percent(figure)) for figure in figures)),
        Column("difference, points", tuple(map(Cell, changes))),
    )
    return Table("Against the baseline", _labels(runs), columns)


def difference_table(runs: Sequence[Run]) -> Table:
    """The settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)  # once each, in order
    values = {name: [run.settings.get(name, "not set") for run in runs] for name in names}
    columns = [Column(name, tuple(map(Cell, texts))) for name, texts in values.items() if len(set(texts)) > 1]
    return Table("Settings that are not the same in all runs", _labels(runs), tuple(columns), numbers=False)


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds below an hour."""
    hours, minutes, rest = int(seconds) // 3600, int(seconds) // 60 % 60, int(seconds) % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _labels(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.label for run in runs)


def _classes(runs: Sequence[Run]) -> list[tuple[int, str]]:
    return list(enumerate(runs[0].record.classes))


def _column(heading: str, runs: Sequence[Run], text: Callable[[Record], str]) -> Column:
    return Column(heading, tuple(Cell(text(run.record)) for run in runs))


def _quality(heading: str, values: Sequence[float | None], summary: bool = False) -> Column:
    """A column of figures, higher is better; if printed figures differ, all that print as the best are marked."""
    texts = [_percent(value) for value in values]
    present = [value for value in values if value is not None and not math.isnan(value)]
    best = _percent(max(present)) if len(set(texts)) > 1 and present else None
    return Column(heading, tuple(Cell(text, text == best) for text in texts), summary)


def _percent(value: float | None) -> str:
    return "absent" if value is None or math.isnan(value) else f"{100 * value:.1f}"
