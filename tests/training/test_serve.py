"""What `train --serve` makes sure of before it trains."""

import dataclasses
import shutil
import socket
from pathlib import Path

import pytest

from tests.tiny_network import DATASET, PRESET
from training.__main__ import USER_ERROR, main
from training.errors import InputError
from training.serve import find_place, require_name, require_port


@pytest.mark.parametrize("there", ["tiny.onnx", "tiny.int8.onnx"])
def test_a_model_to_serve_does_not_replace_another_and_is_told_so_before_training(
    there: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGMENT_MODELS_DIR", str(tmp_path))
    (tmp_path / there).touch()
    out = tmp_path / "run"
    assert main(["train", PRESET.name, "--data", str(shapes), "--out", str(out), "--name", "tiny", "--serve"]) == USER_ERROR
    assert f"{there} is another model's of that name: give this one another --name" in capsys.readouterr().err
    assert not out.exists()


def test_an_older_model_of_the_same_data_makes_room(models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "tiny.onnx", tmp_path / "tiny.onnx")
    require_name("tiny", DATASET, tmp_path)
    with pytest.raises(InputError, match="another model's"):
        require_name("tiny", dataclasses.replace(DATASET, description="images and masks in folder other"), tmp_path)
    shutil.copy(models / "tiny.onnx", tmp_path / "tiny.int8.onnx")
    with pytest.raises(InputError, match=r"tiny\.int8\.onnx was made from the tiny\.onnx of before: remove it"):
        require_name("tiny", DATASET, tmp_path)
    (tmp_path / "tiny.int8.onnx").unlink()
    (tmp_path / "tiny.md").touch()
    with pytest.raises(InputError, match=r"tiny\.md describes the tiny\.onnx of before: remove it and its picture tiny\.jpg"):
        require_name("tiny", DATASET, tmp_path)


def test_a_model_of_other_classes_is_not_replaced_though_its_folder_had_the_same_name(models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "tiny.onnx", tmp_path / "tiny.onnx")
    with pytest.raises(
        InputError, match=r"tiny\.onnx is .* other classes \(background, cat, .*\): give this one another --name"
    ):
        require_name("tiny", dataclasses.replace(DATASET, classes=DATASET.classes[:2]), tmp_path)


def test_a_model_of_that_name_in_another_folder_is_not_joined(models: Path, tmp_path: Path) -> None:
    (tmp_path / "research").mkdir()
    shutil.copy(models / "tiny.onnx", tmp_path / "research/renamed.int8.onnx")
    with pytest.raises(InputError, match=r"research/renamed\.int8\.onnx is another model's of that name"):
        require_name("tiny", DATASET, tmp_path)


def test_a_name_that_cannot_be_served_is_told_before_training(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", PRESET.name, "--data", str(shapes), "--out", str(tmp_path / "run"), "--name", "My Model", "--serve"]
    assert main(given) == USER_ERROR
    assert "'My Model' is no name for a model" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_told_before_training(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGMENT_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr("training.commands.train.serve", lambda *_: pytest.fail("it trained"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("SEGMENT_PORT", str(port))
        assert main(["train", PRESET.name, "--data", str(shapes), "--out", str(tmp_path / "run"), "--serve"]) == USER_ERROR
        assert f"port {port} is taken: stop what listens there, or set SEGMENT_PORT" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0] as answered:
            answered.shutdown(socket.SHUT_WR)  # closed from this side first: it stays in TIME_WAIT
    require_port(find_place())


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_any_port_that_is_free_is_free(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENT_HOST", host)
    monkeypatch.setenv("SEGMENT_PORT", "0")
    require_port(find_place())


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("HOST", "192.0.2.1", "192.0.2.1, port"),
        ("PORT", "99999", "SEGMENT_PORT: Input should be less than or equal to 65535"),
        ("DEVICE", "gpu", "could not start: SEGMENT_DEVICE: Input should be"),
    ],
)
def test_a_place_where_the_service_cannot_listen_is_told(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SEGMENT_{name}", value)
    with pytest.raises(InputError, match=told):
        require_port(find_place())
