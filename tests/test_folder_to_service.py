"""Twenty labelled images and one command: a service that knows the person's own classes."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service_process import Server, start_server, stop_server
from tests.shapes import draw_shapes, model_labels
from training.fine_tuning import model_name

CLASSES = "background\ndisc #e69f00\nbeam\nsquare #009e73\ntriangle #f0e442\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `train --data my-photos/ --classes classes.txt --serve` becomes."""
    folder = tmp_path_factory.mktemp("own")
    photos = folder / "My photos"
    random = np.random.default_rng(3)
    for name in ("images", "masks"):
        (photos / name).mkdir(parents=True)
    for number in range(20):
        photo, mask = draw_shapes(random)
        photo.save(photos / "images" / f"{number}.jpg", quality=95)
        Image.fromarray(model_labels(mask)).save(photos / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text(CLASSES)
    given = ("--data", str(photos), "--classes", str(folder / "classes.txt"), "--out", str(folder / "run"), "--epochs", "3")
    command = ("-m", "training", "train", *given, "--serve")
    server = start_server(log=None, command=command, patience=280, MODELS_DIR=str(folder / "models"))
    yield server
    stop_server(server)


def test_the_service_answers_with_the_persons_classes(server: Server) -> None:
    photo, _ = draw_shapes(np.random.default_rng(99))
    body = io.BytesIO()
    photo.save(body, "PNG")
    answer = httpx.post(server.url + "/segment", content=body.getvalue(), timeout=60).json()
    assert answer["model"]["name"] == "my-photos"
    assert [entry["name"] for entry in answer["classes"]] == ["background", "disc", "beam", "square", "triangle"]
    assert sum(entry["pixels"] for entry in answer["classes"]) == photo.width * photo.height


def test_its_card_says_what_it_was_trained_on_and_what_was_measured(server: Server) -> None:
    card = httpx.get(server.url + "/models/my-photos", timeout=60).json()
    assert "My photos" in card["dataset"]
    [metrics] = card["metrics"]
    assert metrics["split"] == "val"
    assert metrics["images"] >= 2
    assert card["limits"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My photos", "my-photos"),
        ("a/Bäume 2", "b-ume-2"),
        ("x/export.zip", "export"),
        ("ß", "model"),
        ("photos.2024", "photos-2024"),
    ],
)
def test_a_model_is_named_after_its_data(folder: str, name: str) -> None:
    assert model_name(Path(folder)) == name
