"""A run in a process that the system allows too little memory for its batch."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from training.__main__ import USER_ERROR
from training.run_folder import RunFolder, load_weights

ROOT = Path(__file__).parents[3]
MEGABYTES = 700  # half of what the batch takes
TOO_FEW_MEGABYTES = 200  # the batch itself, and less than one crop's activations


def train(shapes: Path, out: Path, how: str, megabytes: int = MEGABYTES) -> subprocess.CompletedProcess[str]:
    """One epoch of one step under the limit."""
    command = [sys.executable, "-m", "tests.training.memory.limited_run", str(megabytes), "train", "shapes-large"]
    return subprocess.run(
        [*command, "--data", str(shapes), "--out", str(out), "--fit", how],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_out_of_memory_in_a_step_halves_the_micro_batch_and_the_run_completes(shapes: Path, tmp_path: Path) -> None:
    ended = train(shapes, tmp_path / "run", "off")
    assert ended.returncode == 0, ended.stderr
    told, run = ended.stdout, RunFolder(tmp_path / "run")
    assert "warning: training takes" in told
    assert "out of memory at step 0: going on with micro-batches of 4" in told
    assert int(load_weights(run.resume)[1]["micro_batch"]) < 8
    assert run.frozen().plan.micro_batch == 8  # as asked; the resume file knows better
    assert [row["epoch"] for row in run.rows(before_epoch=99)] == ["1"]


def test_with_fit_auto_memory_never_runs_out(shapes: Path, tmp_path: Path) -> None:
    ended = train(shapes, tmp_path / "run", "auto")
    assert ended.returncode == 0, ended.stderr
    told, run = ended.stdout, RunFolder(tmp_path / "run")
    assert "out of memory" not in told
    micro_batch = run.frozen().plan.micro_batch
    assert micro_batch < 8
    assert f"--fit auto: --micro-batch {micro_batch}\n" in told
    assert json.loads((tmp_path / "run/record.json").read_text())["command"].endswith("--fit auto")


def test_with_fit_check_it_is_refused_before_it_begins_with_the_change_that_helps(shapes: Path, tmp_path: Path) -> None:
    ended = train(shapes, tmp_path / "run", "check")
    assert ended.returncode == USER_ERROR
    assert re.fullmatch(
        r"python -m training: training takes .* are free; --micro-batch \d makes it fit, and --fit auto does so\n", ended.stderr
    )
    assert not (tmp_path / "run").exists()


def test_where_not_even_one_crop_fits_a_run_ends_with_one_clear_line(shapes: Path, tmp_path: Path) -> None:
    ended = train(shapes, tmp_path / "run", "off", TOO_FEW_MEGABYTES)
    assert ended.returncode == USER_ERROR
    assert "python -m training: out of memory with 1 crop at a time" in ended.stderr
    assert "Traceback" not in ended.stderr
