"""What a benchmark measures: rows of one Markdown table."""

import math
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HEADER = "| command | what | measured | bar | result |\n|---|---|---|---|---|"
FAILED = "failed: "  # so begins the result of a benchmark that could not be measured to its end


class CannotRun(Exception):
    """This machine lacks what the benchmark needs; the message says what."""


@dataclass(frozen=True)
class Row:
    """One figure, and the bar it is held against; without one it is only reported."""

    what: str
    measured: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @classmethod
    def median(
        cls,
        what: str,
        values: Sequence[float],
        unit: str = "",
        at_least: float | None = None,
        at_most: float | None = None,
        note: str = "",
    ) -> "Row":
        """The median of several rounds, and their range."""
        spread = f"{_number(min(values))} to {_number(max(values))}"
        return cls(what, float(np.median(values)), unit, at_least, at_most, f"{spread}, {note}" if note else spread)

    @property
    def bar(self) -> str:
        """The bar in words; empty if there is none."""
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{name} {_number(bound)}" for name, bound in bounds if bound is not None)

    @property
    def result(self) -> str:
        """`met` or `missed`; what is no number, or infinite since the other side did nothing, misses every bar."""
        if not self.bar:
            return ""
        if not math.isfinite(self.measured):
            return "missed"
        above = self.at_least is None or self.measured >= self.at_least
        below = self.at_most is None or self.measured <= self.at_most
        return "met" if above and below else "missed"

    def markdown(self, command: str) -> str:
        """A line of the table."""
        note = f" ({self.note})" if self.note else ""
        return line(command, self.what, f"{_number(self.measured)} {self.unit}".strip() + note, self.bar, self.result)


Rows = Generator[Row, None, None]


def line(command: str, *cells: str) -> str:
    """A line of the table of which the last cell is the result."""
    *others, result = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
    others += [""] * (3 - len(others))
    return f"| `{command}` | {' | '.join(others)} | {result} |"


def run(measure: Callable[[], Rows]) -> None:
    """What `python -m tests.benchmarks.bench_NAME` does: print each row when it is measured.

    A missed bar is a result; the exit status tells only whether it could be measured.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that servers are stopped
    command = Path(sys.argv[0]).stem
    print(HEADER, flush=True)
    try:
        with closing(measure()) as rows:
            for row in rows:
                print(row.markdown(command), flush=True)
    except CannotRun as reason:
        print(line(command, f"not run: {reason}"), flush=True)
    except Exception as error:
        print(line(command, f"{FAILED}{type(error).__name__}: {error}"), flush=True)
        raise


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
