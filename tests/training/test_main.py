"""The commands, as a person types them."""

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.service_process import ROOT
from tests.tiny_network import PRESET
from tests.training.data.cvat_export import write_export, zipped
from training.__main__ import COMMANDS, USER_ERROR, main
from training.commands.train import command_text
from training.data.augment import Augmentation
from training.data.find import find_dataset
from training.export.recipe import recipe_text
from training.files import load_weights
from training.fine_tuning import fine_tuning
from training.networks import NETWORKS
from training.onnx_model import load_onnx
from training.plan import Plan
from training.presets import PRESETS
from training.run_folder import RunFolder
from training.start import MODELS, start

SHIPPED_WEIGHTS = sorted(MODELS.rglob("*.safetensors"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"python -m training {command}" in capsys.readouterr().out


def test_where_only_the_service_is_installed_it_says_what_to_do() -> None:
    without_torch = "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('training', run_name='__main__')"
    command = [sys.executable, "-c", without_torch]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "torch" in ended.stderr and "make train" in ended.stderr and "Traceback" not in ended.stderr


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    assert "animals-fcn8s-lite0: fcn8s-lite0 on voc-animals, 12 epochs" in capsys.readouterr().out


def test_a_run_its_weights_and_its_model_file_measure_alike(
    run: Path, models: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = []
    for model in (run, run / "best.safetensors", models / "tiny.onnx"):
        assert main(["evaluate", str(model), "--data", str(shapes)]) == 0
        figures.append(json.loads(capsys.readouterr().out))
    assert figures[0] == figures[1]
    assert figures[2].items() >= load_onnx(models / "tiny.onnx").card.metrics[0].model_dump().items()
    record = json.loads((run / "record.json").read_text())
    assert list(figures[0]["boundary_f"].values()) == record["boundary_f"]
    assert figures[0]["boundary_definition"] == record["boundary_definition"]
    assert figures[0]["mean_iou"] == pytest.approx(figures[2]["mean_iou"], abs=1e-4)


def test_where_no_change_saves_memory_none_is_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    assert main(["memory", "camvid-fcn8s-lite0", "--micro-batch", "1", "--recompute"]) == 0
    told = capsys.readouterr().out
    assert "free on this" in told
    assert "changes" not in told


@pytest.mark.parametrize(
    ("plan", "processes", "expected"),
    [
        (Plan(4), 1, "python -m training train x --data DIR --classes FILE --out RUN --init runs/best.safetensors --epochs 2"),
        (
            Plan(2, "bf16", recompute=True),
            3,
            "torchrun --nproc-per-node 3 -m training train x --data DIR --classes FILE --out RUN --init runs/best.safetensors "
            "--epochs 2 --micro-batch 2 --recompute --precision bf16",
        ),
    ],
)
def test_the_command_of_a_run_tells_how_it_was_carried_out(plan: Plan, processes: int, expected: str) -> None:
    options = {"preset": "x", "classes": Path("c"), "dataset": None, "epochs": 2, "patience": None, "fit": "check"}
    given = argparse.Namespace(init="my/runs/best.safetensors", **options)
    assert command_text(given, Path("my/runs/best.safetensors"), plan, 4, processes) == expected


def test_a_run_can_be_shortened(shapes: Path, tmp_path: Path) -> None:
    assert main(["train", PRESET.name, "--data", str(shapes), "--out", str(tmp_path / "run"), "--epochs", "1"]) == 0
    assert RunFolder(tmp_path / "run").frozen().preset.epochs == 1
    assert len(RunFolder(tmp_path / "run").rows(99)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", PRESET.name, "--data", "nowhere", "--out", "run"],
        ["train", PRESET.name, "--data", "DATA", "--out", "run", "--init", "nowhere.safetensors"],
        ["evaluate", "nowhere", "--data", "DATA"],
        ["evaluate", "nowhere.onnx", "--data", "DATA"],
        ["evaluate", "RUN", "--data", "nowhere"],
        ["evaluate", "RUN", "--data", "DATA", "--split", "nowhere"],
        ["export", "nowhere"],
        ["export", "DATA"],
        ["export", "nowhere.onnx", "--data", "DATA"],
        ["export", "RUN", "--data", "DATA", "--split", "nowhere"],
        ["export", "RUN", "--empty", "background", "nowhere"],
    ],
    ids=" ".join,
)
def test_what_is_missing_is_told_in_one_line(
    arguments: list[str],
    run: Path,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    real = {"RUN": str(run), "DATA": str(shapes)}
    assert main([real.get(argument, argument) for argument in arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m training: ")
    assert "nowhere" in line or str(shapes) in line
    assert not any(tmp_path.iterdir())


def test_an_export_writes_variants_and_page_which_can_be_written_again(
    run: Path,
    graph: onnx.ModelProto,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("training.export.files.to_onnx", lambda network: graph)  # of the same run
    asked = ["--data", str(shapes), "--variants", "fp16", "--empty", "background,cat", str(shapes / "JPEGImages")]
    assert main(["export", str(run), "--out", str(tmp_path), "--name", "mine", *asked]) == 0
    written = {"mine.onnx", "mine.safetensors", "mine.fp16.onnx", "mine.md", "mine.jpg"}
    assert {path.name for path in tmp_path.iterdir()} == written
    printed = capsys.readouterr().out
    assert "`mine.fp16.onnx`" in printed and "points" in printed and str(tmp_path / "mine.md") in printed
    kept = (tmp_path / "mine.onnx").read_bytes()
    (tmp_path / "mine.md").unlink()
    assert main(["export", str(tmp_path / "mine.onnx"), "--data", str(shapes)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == written
    assert "`mine.fp16.onnx`" in (tmp_path / "mine.md").read_text()
    assert (tmp_path / "mine.onnx").read_bytes() == kept
    for options, told in ((["--name", "other"], "keeps its folder and name"), (["--empty", "cat", "x"], "with --variants")):
        assert main(["export", str(tmp_path / "mine.onnx"), "--data", str(shapes), *options]) == 2
        assert told in capsys.readouterr().err


def test_a_name_that_no_model_can_have_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--out", str(tmp_path), "--name", "../Mine"]) == 2
    assert "the card's name cannot be '../Mine'" in capsys.readouterr().err


def test_a_refused_export_ends_with_another_code(
    run: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = onnx.load(models / "tiny.onnx")
    monkeypatch.setattr("training.export.files.to_onnx", lambda network: exported)
    monkeypatch.setattr("training.export.parity.MAX_RELATIVE_DIFFERENCE", 0.0)
    assert main(["export", str(run), "--out", str(tmp_path)]) == 1
    assert "differs from the network" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_told_in_one_line(
    split: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataclasses.replace(PRESET, name="whole", augmentation=Augmentation(crop=None), long_side=None)
    monkeypatch.setitem(PRESETS, whole.name, whole)
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / f"ImageSets/Segmentation/{split}.txt").write_text("")
    commands = [["train", name, "--out", str(tmp_path / "run")] for name in (PRESET.name, whole.name)]
    for command in [*commands, *([["overfit", PRESET.name]] if split == "train" else [])]:
        assert main([*command, "--data", str(data)]) == USER_ERROR
        [line] = capsys.readouterr().err.splitlines()
        assert re.search(r"has no (training |validation )?images", line)


def test_the_warm_up_of_few_epochs_leaves_most_of_them(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = dataclasses.replace(PRESET, name="slow", warmup_epochs=2.0)
    monkeypatch.setitem(PRESETS, slow.name, slow)
    assert main(["train", slow.name, "--data", str(shapes), "--out", str(tmp_path / "run"), "--epochs", "1"]) == 0
    assert RunFolder(tmp_path / "run").frozen().preset.warmup_epochs == 0.25


@pytest.mark.parametrize("command", ["train", "check-data"])
def test_an_interrupted_command_ends_with_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS[command], "open_data", interrupted)
    assert main([command, "--data", "x"]) == 130
    goes_on = ": the same command goes on where the run was last saved" if command == "train" else ""
    assert capsys.readouterr().err == f"python -m training: interrupted{goes_on}\n"


@pytest.mark.parametrize("command", ["train", "check-data"])
def test_a_name_that_is_no_text_is_told_whatever_can_be_printed(command: str, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    (tmp_path / "classes.txt").write_text("background\nBäume\n", "utf-8")
    os.close(os.open(os.fsencode(tmp_path) + b"/images/caf\xe9.jpg", os.O_CREAT))
    given = ["-m", "training", command, "--data", str(tmp_path), "--classes", str(tmp_path / "classes.txt")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    ended = subprocess.run([sys.executable, *given], cwd=ROOT, env=environment, capture_output=True, timeout=60, check=False)
    assert ended.returncode == {"train": USER_ERROR, "check-data": 1}[command]
    assert ended.stdout.count(rb"holds b'caf\xe9.jpg', which is no name in UTF-8: rename it") == 1
    assert b"B\\xe4ume" in ended.stdout
    assert b"Traceback" not in ended.stderr


def test_data_in_a_folder_whose_name_is_no_text_are_not_begun_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    assert main(["check-data", "--data", str(folder), "--classes", str(tmp_path / "classes.txt")]) == USER_ERROR
    assert r"holds b'caf\xe9', which is no name in UTF-8: rename it" in capsys.readouterr().err


def test_any_preset_learns_a_persons_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, PRESET.name, dataclasses.replace(PRESET, batch=2, epochs=1))
    export = zipped(write_export(tmp_path / "task", {"train": ["a", "b"], "val": ["c", "d"]}))
    assert main(["train", PRESET.name, "--data", str(export), "--out", str(tmp_path / "run")]) == 0
    frozen = RunFolder(tmp_path / "run").frozen()
    assert (frozen.preset.dataset, frozen.data.name) == ("cvat", "cvat")
    assert main(["evaluate", str(tmp_path / "run/best.safetensors"), "--data", str(export)]) == 0


@pytest.mark.parametrize("model", SHIPPED_WEIGHTS, ids=lambda path: str(path.stem))
def test_every_shipped_model_can_be_learned_from(model: Path, tmp_path: Path) -> None:
    data = zipped(write_export(tmp_path / "task", {"train": ["a", "b"], "val": ["c", "d"]}))
    dataset = find_dataset("cvat", data)
    preset = fine_tuning(dataset, data, model)
    network = NETWORKS[preset.architecture](len(dataset.classes), preset.normalisation)
    told = start(network, preset.start, model, [entry.name for entry in dataset.classes])
    assert told is not None
    assert set(network.backbone.state_dict()) <= {name.removeprefix("backbone.") for name in told.copied}
    assert f"--init runs/{load_weights(model)[1]['preset']}/best" in recipe_text(preset, "none")


def test_a_model_is_not_measured_on_other_classes(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = zipped(write_export(tmp_path / "task", {"train": ["a", "b"], "val": ["c", "d"]}))
    assert main(["evaluate", str(models / "tiny.onnx"), "--data", str(export)]) == USER_ERROR
    told = capsys.readouterr().err
    assert "are not those of" in told and "instead of background, cat, cow, dog, horse, sheep, person" in told


def test_a_model_of_ones_own_data_is_measured_and_exported_on_an_export_of_cvat_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = dataclasses.replace(PRESET, name="own", dataset="folder", batch=2, epochs=1)
    monkeypatch.setitem(PRESETS, own.name, own)
    export = zipped(write_export(tmp_path / "task", {"train": ["a", "b"], "val": ["c", "d"]}))
    run, models, data = tmp_path / "oaks", tmp_path / "models", ["--data", str(export)]
    assert main(["train", own.name, *data, "--out", str(run)]) == 0
    assert main(["export", str(run), *data, "--out", str(models)]) == 0
    for model in (run, models / "oaks.onnx", models / "oaks.safetensors"):
        capsys.readouterr()
        assert main(["evaluate", str(model), *data]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 2
    assert main(["export", str(models / "oaks.onnx"), *data]) == 0
    assert "`python -m training train own --data DIR --out RUN`" in (models / "oaks.md").read_text()
