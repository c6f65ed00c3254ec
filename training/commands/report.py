"""Compare runs on one page.

Writes report.html, which needs no other file, and report.md with its pictures. A RUN is a run's folder, or what is kept
of it: config.json, metrics.csv and record.json.
"""

import argparse
from pathlib import Path

from training.commands.arguments import folder_path
from training.errors import InputError
from training.report.page import write_report
from training.report.run import read_runs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: the runs, the baseline, the folder to write to, and the page's title and notes."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run; columns keep this order")
    parser.add_argument("--out", type=folder_path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--baseline", type=Path, metavar="RUN", help="one of them: show what the others gain over it")
    parser.add_argument("--title", default="Training runs compared", help="heading of the page")
    parser.add_argument("--notes", type=Path, metavar="FILE", help="plain text to put below the heading")


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print its path."""
    runs = read_runs(arguments.runs)
    if arguments.baseline is not None and arguments.baseline not in arguments.runs:
        raise InputError(f"the baseline {arguments.baseline} is not among the runs")
    baseline = None if arguments.baseline is None else runs[arguments.runs.index(arguments.baseline)]
    try:
        notes = arguments.notes.read_text(encoding="utf-8").split("\n\n") if arguments.notes else []
    except UnicodeDecodeError as error:
        raise InputError(f"{arguments.notes} is no text in UTF-8") from error
    print(write_report(runs, baseline, arguments.title, notes, arguments.out))
    return 0
