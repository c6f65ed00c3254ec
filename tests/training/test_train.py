"""A killed run ends as one that was never killed."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.shapes import write_shapes
from tests.tiny_network import DATASET, PRESET
from tests.training.same_results import WEIGHTS, same_results
from training import train as trainer
from training.errors import InputError
from training.files import load_weights, save_weights
from training.learner import Learner
from training.presets.preset import AdamW
from training.report.record import read_record
from training.run_folder import RunFolder
from training.train import train


class Killed(BaseException):
    """Stands for a signal that nothing handles."""


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_run_killed_between_two_steps_resumes_to_identical_files(
    steps: int, run: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0)
    learn = Learner.learn

    def learn_until_killed(self: Learner, pixels: Tensor, labels: Tensor, steps_per_epoch: int) -> Tensor:
        if self.step == steps:
            raise Killed
        return learn(self, pixels, labels, steps_per_epoch)

    with monkeypatch.context() as killing, pytest.raises(Killed):
        killing.setattr(Learner, "learn", learn_until_killed)
        train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    assert load_weights(RunFolder(tmp_path / "run").resume)[1]["step"] == str(steps)
    train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    same_results(tmp_path / "run", run)


@pytest.mark.parametrize("write", range(3))
def test_a_run_killed_between_the_files_of_an_epochs_end_resumes_to_identical_files(
    write: int, run: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch's end writes the table, `last`, `best` and what a resume needs: it may die before each."""
    written: list[Path] = []

    def save_until_killed(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        if len(written) == write:
            raise Killed
        written.append(path)
        save_weights(path, tensors, metadata)

    with monkeypatch.context() as killing, pytest.raises(Killed):
        killing.setattr("training.epoch.save_weights", save_until_killed)
        killing.setattr("training.learner.save_weights", save_until_killed)
        train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    same_results(tmp_path / "run", run)


KILLED_RUN = """
import os, signal, sys, torch
from pathlib import Path
from tests.tiny_network import ARCHITECTURE, DATASET, PRESET, tiny_fcn
from training import train as trainer
from training.learner import Learner
from training.networks import NETWORKS

torch.set_num_threads(1)
NETWORKS[ARCHITECTURE] = tiny_fcn
trainer.CHECKPOINT_SECONDS = 0
save = Learner.save
def save_then_die(self, path, progress):
    save(self, path, progress)
    if self.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
Learner.save = save_then_die
trainer.train(PRESET, DATASET, Path(sys.argv[1]), Path(sys.argv[2]), workers=0)
"""


def test_a_process_killed_by_the_system_resumes_to_identical_files(run: Path, shapes: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", KILLED_RUN, str(shapes), str(tmp_path / "run")]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    same_results(tmp_path / "run", run)


def test_a_finished_run_stays_as_it_is(run: Path, shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    best = float(load_weights(RunFolder(run).resume)[1]["best"])
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert train(PRESET, DATASET, shapes, tmp_path / "run", workers=0) == best
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_finished_run_whose_weights_were_removed_still_tells_its_best(run: Path, shapes: Path, tmp_path: Path) -> None:
    folder = RunFolder(Path(shutil.copytree(run, tmp_path / "run")))
    best = train(PRESET, DATASET, shapes, folder.path, workers=0)
    for name in WEIGHTS:
        (folder.path / name).unlink()
    assert train(PRESET, DATASET, shapes, folder.path, workers=0) == best


def test_a_run_that_continues_replaces_its_best_model_only_by_a_better_one(run: Path, shapes: Path, tmp_path: Path) -> None:
    folder = RunFolder(Path(shutil.copytree(run, tmp_path / "run")))
    tensors, described = load_weights(folder.best)
    save_weights(folder.best, tensors, described | {"val_mean_iou": "0.99"})
    folder.record.unlink()
    folder.resume.unlink()  # as if the run had been killed before it wrote this
    assert train(PRESET, DATASET, shapes, folder.path, workers=0) == 0.99
    assert load_weights(folder.best)[1]["val_mean_iou"] == "0.99"


def test_a_worker_process_gives_the_same_run(run: Path, shapes: Path, tmp_path: Path) -> None:
    train(PRESET, DATASET, shapes, tmp_path / "run", workers=1)
    same_results(tmp_path / "run", run)


def test_a_run_leaves_weights_a_table_curves_and_pictures(run: Path) -> None:
    files = {path.name for path in run.iterdir()}
    pictures = {"curves.png", "samples.jpg", "confusion.png", "iou.png", "worst.png", "best.png"}
    assert files == {*WEIGHTS, *pictures, "metrics.csv", "tensorboard", "config.json", "record.json", ".lock"}
    rows = RunFolder(run).rows(before_epoch=99)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    best = max(float(row["val_mean_iou"]) for row in rows)
    _, described = load_weights(run / "best.safetensors")
    assert float(described["val_mean_iou"]) == pytest.approx(best, abs=1e-6)
    assert described["preset"] == PRESET.name


def test_an_epochs_loss_is_the_mean_over_its_own_steps(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    learn = Learner.learn

    def recorded(self: Learner, pixels: Tensor, labels: Tensor, steps_per_epoch: int) -> Tensor:
        loss = learn(self, pixels, labels, steps_per_epoch)
        losses.append(float(loss))
        return loss

    monkeypatch.setattr(Learner, "learn", recorded)
    train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    told = [float(row["train_loss"]) for row in RunFolder(tmp_path / "run").rows(99)]
    assert told == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3], abs=1e-5)


def test_a_folder_of_another_configuration_is_refused_and_left_alone(run: Path, shapes: Path) -> None:
    before = (run / "config.json").read_bytes()
    with pytest.raises(InputError, match="another configuration"):
        train(dataclasses.replace(PRESET, batch=3), DATASET, shapes, run, workers=0)
    assert (run / "config.json").read_bytes() == before


def test_a_run_is_not_continued_with_other_training_images(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    more = write_shapes(tmp_path / "more", train=13, val=4)
    with pytest.raises(
        InputError, match=r"\(the names of its images, or its masks, have changed since; .*\); give another --out"
    ):
        train(PRESET, DATASET, more, tmp_path / "run", workers=0)


def test_a_run_is_not_continued_with_other_masks(run: Path, shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    shutil.copytree(run, tmp_path / "run")
    train(PRESET, DATASET, data, tmp_path / "run", workers=0)
    mask = data / "SegmentationClass/train000.png"
    with Image.open(mask) as before:
        palette, labels = before.getpalette(), np.asarray(before)
    changed = Image.fromarray(np.where(labels == 1, 2, labels).astype(np.uint8), "P")
    changed.putpalette(palette or [])
    changed.save(mask)
    with pytest.raises(InputError, match="the names of its images, or its masks, have changed since"):
        train(PRESET, DATASET, data, tmp_path / "run", workers=0)


def test_a_run_is_not_continued_nor_called_finished_with_other_photos_of_the_same_names(
    run: Path, shapes: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    shutil.copytree(run, tmp_path / "run")
    shutil.copy(data / "JPEGImages/train001.jpg", data / "JPEGImages/train000.jpg")
    with pytest.raises(InputError, match=r"\(its photos have changed since\); give another --out"):
        train(PRESET, DATASET, data, tmp_path / "run", workers=0)


def test_who_goes_on_with_a_run_is_told_what_is_another_and_whether_it_is_finished(
    run: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    assert "holds this run, finished: there is nothing left to train" in capsys.readouterr().out
    old = RunFolder(tmp_path / "run")
    old.record.unlink()
    old.config.write_text(old.config.read_text().replace(torch.__version__, "1.0"))
    train(PRESET, DATASET, shapes, tmp_path / "run", workers=0)
    assert f"warning: it began with torch 1.0 and goes on with {torch.__version__}" in capsys.readouterr().out


def test_a_run_stops_when_no_epoch_is_better_and_stays_stopped(shapes: Path, tmp_path: Path) -> None:
    still = AdamW(learning_rate=1e-12, head_learning_rate=1e-12, weight_decay=0.0)  # later epochs are as good as the first
    patient = dataclasses.replace(PRESET, optimizer=still, epochs=9, patience=2, averaging=0.0, warmup_epochs=0.0)
    frozen_statistics = dataclasses.replace(patient, frozen_stride=32)
    for _ in range(2):  # given again, the command changes nothing
        train(frozen_statistics, DATASET, shapes, tmp_path / "run", workers=0)
        assert [row["epoch"] for row in RunFolder(tmp_path / "run").rows(99)] == ["1", "2", "3"]
        assert read_record(tmp_path / "run").epochs == 3


def test_what_cannot_begin_leaves_no_run_folder(shapes: Path, tmp_path: Path) -> None:
    for preset in (
        dataclasses.replace(PRESET, start="another"),  # no weights of it are given
        dataclasses.replace(PRESET, batch=13),  # there are 12 images
    ):
        with pytest.raises(InputError):
            train(preset, DATASET, shapes, tmp_path / "run", workers=0)
        assert not (tmp_path / "run").exists()


def test_a_split_without_images_is_told_before_the_first_step(shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / "ImageSets/Segmentation/val.txt").write_text("")
    with pytest.raises(InputError, match="no validation images"):
        train(PRESET, DATASET, data, tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()


def test_validation_images_that_are_all_void_are_told_after_the_first_epoch(shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    for mask in (data / "SegmentationClass").glob("val*.png"):
        with Image.open(mask) as stored:
            stored.point(lambda _: 255).save(mask)
    with pytest.raises(InputError, match="all pixels of the validation images are void"):
        train(PRESET, DATASET, data, tmp_path / "run", workers=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_told_in_one_line(workers: int, shapes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / "JPEGImages/train003.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError) as told:
        train(PRESET, DATASET, data, tmp_path / "run", workers=workers)
    [line] = str(told.value).splitlines()
    assert "train003.jpg cannot be read" in line


def test_a_missing_data_set_leaves_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        train(PRESET, DATASET, tmp_path / "nowhere", tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
