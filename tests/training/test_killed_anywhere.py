"""A run whose process is killed at random moments, over and over, ends as one that was never killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_network import PRESET
from tests.training.test_train import same_results

ROOT = Path(__file__).parents[2]
LONGEST = 2.5  # seconds from a start's first step to its end, pictures included, on a machine with time
MAX_KILLS = 5


def begin(shapes: Path, out: Path) -> subprocess.Popen[str]:
    """The trainer as a process of its own, at its first step."""
    command = [sys.executable, "-m", "tests.training.tiny_run", "train", PRESET.name, "--data", str(shapes), "--out", str(out)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "from step" in line:
            break
    return process


@pytest.mark.parametrize("seed", [1, 2])
def test_it_ends_with_the_same_weights_bit_for_bit(seed: int, run: Path, shapes: Path, tmp_path: Path) -> None:
    random, kills = np.random.default_rng(seed), 0
    while True:
        with begin(shapes, tmp_path / "run") as process:
            if kills < MAX_KILLS:
                time.sleep(random.uniform(0, LONGEST * (kills + 1) / MAX_KILLS))  # the first one early: it must not be late
                process.kill()  # SIGKILL, unless it has ended
            process.communicate(timeout=120)
        if process.returncode == 0:
            break
        kills += 1
    assert kills > 0
    same_results(tmp_path / "run", run)
