"""export as a person runs it."""

from pathlib import Path

import pytest
from PIL import Image

from tests.tiny_network import DATASET
from tests.training.export.color_network import color_checkpoint
from training.__main__ import USER_ERROR, main
from training.data.reader import Reader, read_upright
from training.export.card import Measurements
from training.export.files import export


def test_int8_is_calibrated_on_training_images_and_measured_on_others(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def recorded(reader: Reader, stem: str) -> Image.Image:
        seen.append(stem)
        return read_upright(reader, stem)

    export(color_checkpoint(), tmp_path, "colors", Measurements())
    monkeypatch.setattr("training.export.int8.read_upright", recorded)
    assert main(["export", str(tmp_path / "colors.onnx"), "--data", str(shapes), "--variants", "int8"]) == 0
    assert seen == DATASET.train(shapes).stems()


def test_a_page_of_the_model_of_before_is_written_anew_or_stops_the_export(
    run: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.md").write_text("of before")
    command = ["export", str(run), "--out", str(tmp_path), "--name", "tiny"]
    assert main(command) == USER_ERROR
    assert "tiny.md describes the tiny.onnx of before" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.md"]
    assert main([*command, "--data", str(shapes)]) == 0
    assert (tmp_path / "tiny.md").read_text().startswith("# tiny")
