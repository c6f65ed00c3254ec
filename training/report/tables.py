"""The report's tables: what runs reached and cost, one column each, as text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.report.record import Record
from training.report.run import Run


@dataclass(frozen=True)
class Cell:
    """One entry."""

    text: str
    best: bool = False  # of its row


@dataclass(frozen=True)
class Row:
    """One line."""

    heading: str
    cells: tuple[Cell, ...]
    summary: bool = False  # of the lines above it


@dataclass(frozen=True)
class Table:
    """Lines under headings; `columns` leaves out the first, which holds the lines' own headings."""

    caption: str
    corner: str  # what the lines' headings are
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numbers: bool = True  # or words


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
    return Table(caption, "class", _labels(runs), (*by_class, *summaries))


def cost_table(runs: Sequence[Run]) -> Table:
    """What training and the network cost, and two further measures."""
    return Table(
        "The network, its training, and two further measures of its best epoch",
        "",
        _labels(runs),
        (
            _row("parameters", runs, lambda record: f"{record.parameters:,}"),
            _row("GMAC for one 480x352 image", runs, lambda record: f"{record.gmac:.2f}"),
            _row("peak training memory, MiB", runs, lambda record: f"{record.peak_memory / 2**20:,.0f}"),
            _row("memory measured as", runs, lambda record: record.peak_memory_method),
            _row("training time", runs, lambda record: duration(record.seconds)),
            _row("best epoch of those trained", runs, lambda record: f"{record.best_epoch} of {record.epochs}"),
            _row("crop, pixels", runs, lambda record: "whole" if record.crop is None else f"{record.crop[0]}x{record.crop[1]}"),
            _row("crops a step", runs, lambda record: f"{record.batch}"),
            _row("device", runs, lambda record: record.device),
            _row("threads", runs, lambda record: f"{record.threads}"),
            _quality("mean class accuracy, %", [run.record.matrix.mean_class_accuracy for run in runs]),
            _quality("mean boundary F-score, %", [run.record.mean_boundary_f for run in runs]),
        ),
    )


def boundary_table(runs: Sequence[Run]) -> Table:
    """How well outlines are followed, by class."""
    rows = [_quality(name, [run.record.boundary_f[number] for run in runs]) for number, name in _classes(runs)]
    mean = _quality("mean", [run.record.mean_boundary_f for run in runs], summary=True)
    return Table("Boundary F-score of each class, in %", "class", _labels(runs), (*rows, mean))


def baseline_table(runs: Sequence[Run], baseline: Run) -> Table:
    """What each run gains over the baseline, in points of mean IoU."""
    base = baseline.record.matrix.mean_iou
    rows = []
    for run in runs:
        figure = run.record.matrix.mean_iou
        change = "baseline" if run is baseline else f"{100 * (figure - base):+.1f}"
        rows.append(Row(run.label, (Cell(_percent(figure)), Cell(change))))
    return Table("Against the baseline", "run", ("mean IoU, %", "difference, points"), tuple(rows))


def difference_table(runs: Sequence[Run]) -> Table:
    """The settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)  # once each, in order
    values = {name: [run.settings.get(name, "not set") for run in runs] for name in names}
    rows = [Row(name, tuple(map(Cell, texts))) for name, texts in values.items() if len(set(texts)) > 1]
    return Table("Settings that are not the same in all runs", "setting", _labels(runs), tuple(rows), numbers=False)


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds below an hour."""
    hours, minutes, rest = int(seconds) // 3600, int(seconds) // 60 % 60, int(seconds) % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _labels(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.label for run in runs)


def _classes(runs: Sequence[Run]) -> list[tuple[int, str]]:
    return list(enumerate(runs[0].record.classes))


def _row(heading: str, runs: Sequence[Run], text: Callable[[Record], str]) -> Row:
    return Row(heading, tuple(Cell(text(run.record)) for run in runs))


def _quality(heading: str, values: Sequence[float | None], summary: bool = False) -> Row:
    """Figures of which more is better; the best, as it is printed, is marked where there are several to choose from."""
    texts = [_percent(value) for value in values]
    present = [value for value in values if value is not None and not math.isnan(value)]
    best = _percent(max(present)) if len(set(texts)) > 1 and present else None
    return Row(heading, tuple(Cell(text, text == best) for text in texts), summary)


def _percent(value: float | None) -> str:
    return "absent" if value is None or math.isnan(value) else f"{100 * value:.1f}"
