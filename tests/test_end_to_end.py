"""The whole way: shapes are drawn, learned, exported, served, and come back."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.metrics import ConfusionMatrix
from service.settings import Settings
from tests.shapes import draw_shapes, model_labels, write_shapes
from tests.tiny_network import ARCHITECTURE, PRESET, tiny_fcn
from training.__main__ import main
from training.networks import NETWORKS
from training.presets import PRESETS
from training.run_folder import RunFolder

NAME = PRESET.name
EPOCHS = 4
GOOD = 0.8  # mean IoU that takes having learned the shapes: guessing background gives 0.2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a model trained on shapes, by the commands that a person would type."""
    folder = tmp_path_factory.mktemp("end-to-end")
    data, run, models = write_shapes(folder / "data", train=48, val=6), folder / "run", folder / "models"
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, ARCHITECTURE, tiny_fcn)
        patch.setitem(PRESETS, NAME, PRESET)
        assert main(["train", NAME, "--data", str(data), "--out", str(run), "--epochs", str(EPOCHS)]) == 0
        assert float(RunFolder(run).rows(EPOCHS)[-1]["val_mean_iou"]) > GOOD
        assert main(["export", str(run), "--data", str(data), "--out", str(models)]) == 0
    return models


def test_the_export_is_a_model_its_weights_and_its_page(models: Path) -> None:
    assert {path.name for path in models.iterdir()} == {f"{NAME}{end}" for end in (".onnx", ".safetensors", ".md", ".jpg")}


def test_shapes_that_were_never_seen_come_back_from_the_service(models: Path) -> None:
    random = np.random.default_rng(99)
    confusion = ConfusionMatrix(7)
    with TestClient(create_app(Settings(models_dir=models, default_model=NAME))) as client:
        for _ in range(6):
            photo, mask = draw_shapes(random)
            body = io.BytesIO()
            photo.save(body, "PNG")
            answer = client.post("/segment", content=body.getvalue(), headers={"Content-Type": "image/png"})
            assert answer.status_code == 200, answer.text
            result = answer.json()
            found = np.asarray(Image.open(io.BytesIO(base64.b64decode(result["mask"].partition(",")[2]))))
            assert found.shape == (photo.height, photo.width)
            assert {entry["id"]: entry["pixels"] for entry in result["classes"]} == {
                n: int((found == n).sum()) for n in range(7)
            }
            confusion.update(model_labels(mask), found)
    assert confusion.mean_iou > GOOD
