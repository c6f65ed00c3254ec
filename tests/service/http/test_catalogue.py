"""GET /models: the cards."""

import hashlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.contract import ModelCard
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, post
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiny_models import card, write_model


def test_the_catalogue_lists_every_card_and_the_default(make_client: MakeClient, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_model(tmp_path, f"{name}.onnx", name=name)
    answer = make_client(models_dir=tmp_path, default_model="two").get("/models").json()
    assert [entry["name"] for entry in answer["models"]] == ["one", "two"]
    assert answer["default"] == "two"


def test_an_entry_is_the_card_and_how_it_is_served(colors: TestClient, colors_folder: Path) -> None:
    answer = colors.get("/models/colors").json()
    served = {key: answer.pop(key) for key in ("sha256", "device", "variants")}
    assert answer == ModelCard.model_validate(card()).model_dump(mode="json")
    content = (colors_folder / "colors.onnx").read_bytes()
    assert served == {"sha256": hashlib.sha256(content).hexdigest(), "device": "cpu", "variants": ["fp32"]}


def test_an_answer_names_the_file_that_gave_it(colors: TestClient) -> None:
    assert post(colors, encoded(flag())).json()["model"]["sha256"] == colors.get("/models/colors").json()["sha256"]


@pytest.mark.parametrize("name", ["nothing", "COLORS", "%00", "%ff", "..%2f..%2fpyproject.toml", "x" * 5000, "ü", "a b"])
def test_an_unknown_name_is_404(name: str, colors: TestClient) -> None:
    assert_problem(colors.get(f"/models/{name}"), 404)


def test_the_shipped_model_is_served_as_the_default(client: TestClient) -> None:
    answer = client.get("/models").json()
    entry = client.get(f"/models/{answer['default']}").json()
    assert answer["default"] == "animals-fcn8s-lite0"
    names = [entry["name"] for entry in entry["classes"]]
    assert names == ["background", "cat", "cow", "dog", "horse", "sheep", "person"]
    assert ModelCard.model_validate({key: value for key, value in entry.items() if key in ModelCard.model_fields})
