"""The trainer in processes of its own, which are forked from one that has imported it: nothing is imported twice."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "__main__",
        "tests.training.tiny_run",
        "tests.training.memory.limited_run",
        "torch._dynamo",  # which an optimiser imports
        "training.memory.settle",
        "training.serve",
        "training.train",
    ]
)


@dataclass(frozen=True)
class Forked:
    """A process that runs one command, and the files that take what it writes."""

    process: BaseProcess
    output: Path
    errors: Path

    def ended(self, patience: float) -> int | None:
        """The exit status, once it has ended; none if it has not within `patience` seconds."""
        self.process.join(patience)
        return self.process.exitcode


def fork(run: Callable[[list[str]], int], arguments: list[str], folder: Path) -> Forked:
    """Begin `run(arguments)`; what it writes is in `folder`."""
    output, errors = folder / "output.txt", folder / "errors.txt"
    for file in (output, errors):
        file.write_text("")
    process = FORKS.Process(target=_carry_out, args=(run, arguments, output, errors))
    process.start()
    return Forked(process, output, errors)


def _carry_out(run: Callable[[list[str]], int], arguments: list[str], output: Path, errors: Path) -> None:
    multiprocessing.set_start_method("fork", force=True)  # as in a process that was not forked: for the readers of images
    for file, number in ((output, 1), (errors, 2)):
        os.dup2(os.open(file, os.O_WRONLY), number)
    sys.exit(run(arguments))
