"""A run's folder keeps one configuration and one table, and is written to by one process at a time."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_network import DATASET, PRESET
from tests.training.frozen import FROZEN
from training.errors import InputError
from training.files import PARTIAL
from training.plan import Plan
from training.presets import PRESETS
from training.presets.preset import Preset
from training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


def test_what_a_killed_process_had_written_of_a_file_is_removed_by_the_next(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / f"resume.safetensors.1{PARTIAL}").touch()
    with run.locked():
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("preset", [PRESET, *PRESETS.values()], ids=lambda preset: str(preset.name))
def test_the_frozen_configuration_reads_back_equal(preset: Preset, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    wanted = dataclasses.replace(FROZEN, preset=preset, plan=Plan(3, "bf16"))
    assert run.begun(wanted) == wanted
    assert not run.path.exists()
    run.freeze(wanted)
    assert run.frozen() == wanted
    assert run.begun(dataclasses.replace(wanted, commit="newer")) == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"plan": Plan(8)},
        {"plan": Plan(4, "bf16")},
        {"examples": "0" * 64},
        {"photos": "0" * 64},
        {"init": "0" * 64},
        {"preset": dataclasses.replace(PRESET, seed=1)},
    ],
)
def test_a_folder_keeps_one_configuration(change: dict[str, Any], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.freeze(FROZEN)
    with pytest.raises(InputError, match="another configuration"):
        run.begun(dataclasses.replace(FROZEN, **change))
    assert run.frozen() == FROZEN


def test_a_run_goes_on_though_its_texts_have_been_reworded(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.freeze(FROZEN)
    reworded = dataclasses.replace(DATASET.card, description="the same", limits=())
    titled = dataclasses.replace(PRESET, title="another title")
    assert run.begun(dataclasses.replace(FROZEN, data=reworded, preset=titled, command="train")) == FROZEN
    fewer = dataclasses.replace(DATASET.card, classes=DATASET.card.classes[1:])
    with pytest.raises(InputError, match="its data set or classes are others"):
        run.begun(dataclasses.replace(FROZEN, data=fewer))


def test_a_run_may_go_on_with_fewer_crops_at_a_time(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.freeze(FROZEN)
    assert run.begun(dataclasses.replace(FROZEN, plan=Plan(1))) == FROZEN


def test_one_process_trains_in_a_folder_at_a_time(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    program = (
        "from pathlib import Path; from training.run_folder import RunFolder\n"
        f"with RunFolder(Path({str(run.path)!r})).locked(): pass"
    )
    with run.locked():
        other = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"another process is training in {run.path}" in other.stderr
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_folder_that_cannot_be_locked_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(file: object, command: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", lockf)
    with pytest.raises(OSError, match="No locks available"), RunFolder(tmp_path / "run").locked():
        pass


@pytest.mark.parametrize("content", [None, "{", "[]", '{"preset": {"name": "x"}, "commit": "c"}'])
def test_a_folder_without_a_valid_configuration_is_no_run(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"is no run folder|does not describe a run"):
        RunFolder(tmp_path).frozen()


def test_an_epoch_recorded_again_replaces_itself_and_what_came_after(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for epoch, loss in ((0, "a"), (1, "b"), (2, "c"), (1, "d")):
        run.append_row({"epoch": epoch, "train_loss": loss})
    assert [(row["epoch"], row["train_loss"]) for row in run.rows(99)] == [("0", "a"), ("1", "d")]


def test_the_configuration_is_readable_json(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["preset"]["augmentation"]["crop"] == [96, 96]


def test_the_table_is_in_utf_8_whatever_the_systems_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("io.text_encoding", lambda encoding, _=2: encoding or "ascii")  # pathlib asks it
    run = RunFolder(tmp_path)
    run.append_row({"epoch": 1, "val_iou_Bäume": 0.5})
    assert run.rows(99) == [{"epoch": "1", "val_iou_Bäume": "0.5"}]


def test_a_class_of_any_name_has_its_column(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for epoch in (1, 2, 2):
        run.append_row({"epoch": epoch, 'val_iou_car, "parked"': 0.5})
    assert run.rows(99) == [{"epoch": str(epoch), 'val_iou_car, "parked"': "0.5"} for epoch in (1, 2)]
