"""The table of the benchmarks: what is missed, cannot run or fails is told in it."""

import os
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import lines
from tests.benchmarks.table import Row

MODULE = "bench_made_up"


def rows_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> list[str]:
    """The rows of a benchmark with that body, run as `python -m tests.benchmarks` does."""
    program = (
        f"import os\nfrom tests.benchmarks.table import *\ndef measure():\n {body}\nif __name__ == '__main__': run(measure)\n"
    )
    (tmp_path / f"{MODULE}.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return [line for line in lines(MODULE) if line.startswith(f"| `{MODULE}`")]


def test_a_bar_is_met_on_its_side_and_at_its_value() -> None:
    results = [
        Row("ratio", 0.93, at_least=0.93).result,
        Row("ratio", 0.92, at_least=0.93).result,
        Row("peak", 600, "MB", at_most=600).result,
        Row("peak", 601, "MB", at_most=600).result,
        Row("p99 of no answers", float("nan"), "ms", at_most=50).result,
        Row("over what did nothing", float("inf"), "times", at_least=3).result,
        Row("only reported", 1).result,
    ]
    assert results == ["met", "missed", "met", "missed", "missed", "missed", ""]


def test_a_row_has_a_cell_for_each_column() -> None:
    row = Row.median("a | b", [1.0, 1234.5, 0.5], "images/s", at_least=0.9)
    assert row.markdown("bench_x") == r"| `bench_x` | a \| b | 1 images/s (0.5 to 1,234) | at least 0.9 | met |"


def test_a_missed_bar_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(tmp_path, monkeypatch, "yield Row('a', 2, 's', at_most=1)")
    assert rows == [f"| `{MODULE}` | a | 2 s | at most 1 | missed |"]


def test_what_cannot_run_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(tmp_path, monkeypatch, "raise CannotRun('no GPU'); yield")
    assert rows == [f"| `{MODULE}` |  |  |  | not run: no GPU |"]


def test_what_was_measured_before_a_failure_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(tmp_path, monkeypatch, "yield Row('a', 2); raise ValueError('two\\n lines')")
    assert rows == [f"| `{MODULE}` | a | 2 |  |  |", f"| `{MODULE}` |  |  |  | failed: ValueError: two lines |"]


def test_a_benchmark_that_is_killed_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(tmp_path, monkeypatch, "yield Row('a', 2); os.kill(os.getpid(), 9)")
    assert rows[1:] == [f"| `{MODULE}` |  |  |  | failed: ended with status -9 |"]


def test_one_that_prints_lines_of_its_own_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(tmp_path, monkeypatch, "print('| mine | 1 |'); return; yield")
    assert rows == [f"| `{MODULE}` |  |  |  | printed a table of its own |"]
