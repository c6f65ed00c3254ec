"""A run folder of which a file was lost or damaged says so in one line, before it trains."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.tiny_network import DATASET, PRESET
from training.__main__ import USER_ERROR, main
from training.errors import InputError
from training.files import load_weights, save_weights
from training.run_folder import RunFolder
from training.train import train


@pytest.fixture
def unfinished(run: Path, tmp_path: Path) -> RunFolder:
    """A run that has trained, and was killed before it wrote its record."""
    folder = RunFolder(Path(shutil.copytree(run, tmp_path / "run")))
    folder.record.unlink()
    return folder


@pytest.mark.parametrize("damage", ["other weights", "truncated"])
def test_what_is_no_resume_file_is_told_with_what_removing_it_does(
    damage: str, unfinished: RunFolder, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = unfinished.resume.read_bytes()
    unfinished.resume.write_bytes(content[:-9] if damage == "truncated" else unfinished.last.read_bytes())
    assert main(["train", PRESET.name, "--data", str(shapes), "--out", str(unfinished.path)]) == USER_ERROR
    [line] = capsys.readouterr().err.splitlines()
    assert "resume.safetensors is damaged, or no resume file: if it is removed, training starts anew" in line
    with pytest.raises(InputError, match="if it is removed, training starts anew"):
        train(PRESET, DATASET, shapes, unfinished.path, workers=0)
    unfinished.resume.unlink()
    train(PRESET, DATASET, shapes, unfinished.path, workers=0)


@pytest.mark.parametrize("change", ["missing", "another shape", "another optimiser's"])
def test_a_resume_file_with_other_tensors_is_told_in_one_line(change: str, unfinished: RunFolder, shapes: Path) -> None:
    tensors, told = load_weights(unfinished.resume)
    if change == "missing":
        del tensors["averaged.scores.0.bias"]
    else:
        name = next(n for n in tensors if n.startswith("network." if change == "another shape" else "optimizer.0.exp"))
        tensors[name] = torch.zeros(2, 3)
    save_weights(unfinished.resume, tensors, told)
    with pytest.raises(InputError, match=r"^.*resume\.safetensors is damaged, or no resume file: .*, training starts anew.*$"):
        train(PRESET, DATASET, shapes, unfinished.path, workers=0)


def test_a_best_model_of_no_epoch_is_told_before_training(unfinished: RunFolder, shapes: Path) -> None:
    save_weights(unfinished.best, load_weights(unfinished.best)[0], {})
    with pytest.raises(InputError, match=r"best\.safetensors does not say which epoch of a run it is: put .* back"):
        train(PRESET, DATASET, shapes, unfinished.path, workers=0)


@pytest.mark.parametrize("table", ["epoch,train_loss\nx,1\n", "loss\n1\n", "epoch,loss\n1,\xff\n"])
def test_a_damaged_table_is_told_before_training(table: str, unfinished: RunFolder, shapes: Path) -> None:
    unfinished.metrics.write_bytes(table.encode("latin-1"))
    with pytest.raises(InputError, match=r"metrics\.csv is damaged: if it is removed, only its epochs are lost"):
        train(PRESET, DATASET, shapes, unfinished.path, workers=0)


def test_a_best_model_that_was_lost_is_told_before_training(unfinished: RunFolder, shapes: Path) -> None:
    unfinished.best.unlink()
    with pytest.raises(InputError, match=r"best\.safetensors, the model of epoch \d, is missing: .* remove resume"):
        train(PRESET, DATASET, shapes, unfinished.path, workers=0)
