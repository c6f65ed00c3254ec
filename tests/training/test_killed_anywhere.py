"""A run whose process is killed at random moments, over and over, ends as one that was never killed."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_network import PRESET
from tests.training import tiny_run
from tests.training.forked import Forked, fork
from tests.training.same_results import same_results

LONGEST = 2.5  # seconds from a start's first step to its end, pictures included, on a machine with time
MAX_KILLS = 5


def begin(shapes: Path, folder: Path) -> Forked:
    """The trainer as a process of its own, at its first step."""
    begun = fork(tiny_run.run, ["train", PRESET.name, "--data", str(shapes), "--out", str(folder / "run")], folder)
    while begun.process.is_alive() and "from step" not in begun.output.read_text():
        time.sleep(0.01)
    return begun


@pytest.mark.parametrize("seed", [1, 2])
def test_it_ends_with_the_same_weights_bit_for_bit(seed: int, run: Path, shapes: Path, tmp_path: Path) -> None:
    random, kills = np.random.default_rng(seed), 0
    while True:
        begun = begin(shapes, tmp_path)
        if kills < MAX_KILLS:
            time.sleep(random.uniform(0, LONGEST * (kills + 1) / MAX_KILLS))  # the first one early: it must not be late
            begun.process.kill()  # SIGKILL, unless it has ended
        status = begun.ended(120)
        assert status in {0, -signal.SIGKILL}, begun.errors.read_text()
        if status == 0:
            break
        kills += 1
    assert kills > 0
    same_results(tmp_path / "run", run)
