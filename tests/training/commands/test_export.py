"""export as a person runs it."""

from pathlib import Path

import pytest
from PIL import Image

from tests.tiny_network import DATASET
from tests.training.export.color_network import color_checkpoint
from training.__main__ import main
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
