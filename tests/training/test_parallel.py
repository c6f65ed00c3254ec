"""Two processes that share a batch learn what one learns from the whole."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_process import free_port
from tests.training import tiny_run
from tests.training.forked import fork
from tests.training.tiny_run import STEADY
from training.files import load_weights
from training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


def command(shapes: Path, out: Path, micro_batch: int) -> list[str]:
    """A run of two epochs."""
    return ["train", STEADY.name, "--data", str(shapes), "--out", str(out), "--micro-batch", str(micro_batch)]


def by_one(shapes: Path, out: Path, micro_batch: int) -> RunFolder:
    """Such a run in one process."""
    begun = fork(tiny_run.run, command(shapes, out, micro_batch), out.parent)
    assert begun.ended(240) == 0, begun.errors.read_text()
    return RunFolder(out)


def by_torchrun(shapes: Path, out: Path, micro_batch: int) -> RunFolder:
    """Such a run in two processes that torchrun starts."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*torchrun, "-m", "tests.training.tiny_run", *command(shapes, out, micro_batch)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    return RunFolder(out)


def as_rank(arguments: list[str]) -> int:
    """`RANK PORT train ...`: one of two processes, with the variables that torchrun gives it."""
    rank, port, *given = arguments
    os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    return tiny_run.run(given)


def by_two(shapes: Path, out: Path, micro_batch: int) -> RunFolder:
    """Such a run in two processes, which need not import torch first."""
    port, ranks = str(free_port()), []
    for rank in ("0", "1"):
        folder = out.parent / rank
        folder.mkdir()
        ranks.append(fork(as_rank, [rank, port, *command(shapes, out, micro_batch)], folder))
    for begun in ranks:
        assert begun.ended(240) == 0, begun.errors.read_text()
    return RunFolder(out)


@pytest.fixture(scope="module", params=[(by_torchrun, 2), (by_two, 1)], ids=["a batch at once", "in parts"])
def runs(request: pytest.FixtureRequest, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    """One process's run and two processes' run, over gloo: as many crops at a time in all, whose statistics are shared."""
    folder = tmp_path_factory.mktemp("parallel")
    by_several, at_a_time = request.param
    return by_one(shapes, folder / "one", 2 * at_a_time), by_several(shapes, folder / "two", at_a_time)


def test_two_processes_reach_the_weights_of_one(runs: tuple[RunFolder, RunFolder]) -> None:
    (expected, _), (found, _) = (load_weights(run.last) for run in runs)
    assert found.keys() == expected.keys()
    losses = [float(row["train_loss"]) for row in runs[0].rows(99)]
    assert losses[1] < losses[0]  # they have moved from where they began
    for name, tensor in expected.items():
        difference = float((found[name] - tensor).double().norm())
        # A bias hardly moves while its gradients cancel: what rounding leaves of them differs from processor to processor.
        assert difference <= 1e-4 * float(tensor.double().norm()) + 1e-5, name


def test_two_processes_measure_every_image_once(runs: tuple[RunFolder, RunFolder]) -> None:
    one, two = (list(csv.DictReader(run.metrics.open())) for run in runs)
    assert [row["epoch"] for row in two] == ["1", "2"]
    for expected, found in zip(one, two, strict=True):
        assert {key: float(value) for key, value in found.items()} == pytest.approx(
            {key: float(value) for key, value in expected.items()}, abs=2e-3, nan_ok=True
        )
