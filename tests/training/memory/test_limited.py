"""A run in a process that the system allows too little memory for its batch."""

import json
import re
from pathlib import Path

from tests.training.forked import Forked, fork
from tests.training.memory import limited_run
from training.__main__ import USER_ERROR
from training.files import load_weights
from training.run_folder import RunFolder

MEGABYTES = 700  # half of what the batch takes
TOO_FEW_MEGABYTES = 200  # the batch itself, and less than one crop's activations
PATIENCE = 600  # seconds


def train(shapes: Path, folder: Path, how: str, megabytes: int = MEGABYTES) -> Forked:
    """One epoch of one step under the limit."""
    command = ["train", "shapes-large", "--data", str(shapes), "--out", str(folder / "run"), "--fit", how]
    return fork(limited_run.run, [str(megabytes), *command], folder)


def test_out_of_memory_in_a_step_halves_the_micro_batch_and_the_run_completes(shapes: Path, tmp_path: Path) -> None:
    begun = train(shapes, tmp_path, "off")
    assert begun.ended(PATIENCE) == 0, begun.errors.read_text()
    told, run = begun.output.read_text(), RunFolder(tmp_path / "run")
    assert "warning: training takes" in told
    assert "out of memory at step 0: going on with micro-batches of 4" in told
    assert int(load_weights(run.resume)[1]["micro_batch"]) < 8
    assert run.frozen().plan.micro_batch == 8  # as asked; the resume file knows better
    assert [row["epoch"] for row in run.rows(before_epoch=99)] == ["1"]


def test_with_fit_auto_memory_never_runs_out(shapes: Path, tmp_path: Path) -> None:
    begun = train(shapes, tmp_path, "auto")
    assert begun.ended(PATIENCE) == 0, begun.errors.read_text()
    told, run = begun.output.read_text(), RunFolder(tmp_path / "run")
    assert "out of memory" not in told
    micro_batch = run.frozen().plan.micro_batch
    assert micro_batch < 8
    assert f"--fit auto: --micro-batch {micro_batch}\n" in told
    assert json.loads((tmp_path / "run/record.json").read_text())["command"].endswith("--fit auto")


def test_with_fit_check_it_is_refused_before_it_begins_with_the_change_that_helps(shapes: Path, tmp_path: Path) -> None:
    begun = train(shapes, tmp_path, "check")
    assert begun.ended(PATIENCE) == USER_ERROR
    assert re.fullmatch(
        r"python -m training: training takes .* are free; --micro-batch \d makes it fit, and --fit auto does so\n",
        begun.errors.read_text(),
    )
    assert not (tmp_path / "run").exists()


def test_where_not_even_one_crop_fits_a_run_ends_with_one_clear_line(shapes: Path, tmp_path: Path) -> None:
    begun = train(shapes, tmp_path, "off", TOO_FEW_MEGABYTES)
    assert begun.ended(PATIENCE) == USER_ERROR
    assert "python -m training: out of memory with 1 crop at a time" in begun.errors.read_text()
    assert "Traceback" not in begun.errors.read_text()
