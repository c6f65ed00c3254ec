"""A folder of model files: which are found, and which of several is served."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime as ort
import pytest

from service.inference.models import preference, trial
from service.inference.models.repository import Repository, UnknownModel
from service.inference.sessions.device import CUDA, DeviceUnavailable
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, post
from tests.service.helpers.foreign_models import endless_model, foreign_model, write_foreign
from tests.service.helpers.model_folders import OTHER_CLASSES
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiny_models import write_model
from tests.service.helpers.waiting import wait_until


def test_models_are_found_in_folders_below(tmp_path: Path) -> None:
    write_model(tmp_path, name="one")
    write_model(tmp_path / "research" / "deep", name="two")
    assert set(Repository(tmp_path, "cpu").models) == {"one", "two"}


def test_links_to_folders_are_followed_once_and_hidden_folders_are_not(tmp_path: Path) -> None:
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    write_model(models / "..2026_11_26", name="hidden")
    write_model(elsewhere, name="linked")
    (models / "mine").symlink_to(elsewhere)
    (models / "back").symlink_to(models)
    (models / "kept.onnx").symlink_to(models / "..2026_11_26" / "colors.onnx")  # as Kubernetes mounts files
    repository = Repository(models, "cpu")
    assert set(repository.models) == {"hidden", "linked"}
    assert not repository.broken


def test_the_name_on_the_card_counts_and_not_the_name_of_the_file(tmp_path: Path) -> None:
    write_model(tmp_path, "file.onnx", name="colors")
    assert list(Repository(tmp_path, "cpu").models) == ["colors"]


def test_variants_of_one_model_are_told_apart_by_precision(tmp_path: Path) -> None:
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    repository = Repository(tmp_path, "cpu")
    assert set(repository.model("colors").variants) == {"int8", "fp16"}
    assert repository.variant("colors", "fp16").card.precision == "fp16"
    assert repository.variant("colors").card.precision == "int8"
    with pytest.raises(UnknownModel, match="fp32"):
        repository.variant("colors", "fp32")
    write_model(tmp_path)
    assert Repository(tmp_path, "cpu").variant("colors").card.precision == "fp32"


def test_of_two_files_of_one_name_and_precision_the_first_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_model(tmp_path, "a.onnx", dataset="first")
    write_model(tmp_path, "b.onnx", dataset="second")
    assert Repository(tmp_path, "cpu").variant("colors").card.dataset == "first"
    assert "another fp32 file" in caplog.text


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime has no CUDA, whichever of its wheels is installed."""
    others = [provider for provider in ort.get_available_providers() if provider != CUDA]
    monkeypatch.setattr(ort, "get_available_providers", lambda: others)


def test_asking_for_cuda_where_no_model_proves_that_it_is_in_use_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable):
        Repository(tmp_path, "cuda")


@pytest.mark.usefixtures("without_cuda")
def test_asking_for_cuda_where_there_is_none_is_an_error_and_no_silent_cpu(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(DeviceUnavailable, match="SEGMENT_DEVICE=cuda"):
        Repository(tmp_path, "cuda")


@pytest.mark.usefixtures("without_cuda")
def test_asking_for_any_device_where_there_is_no_cuda_gets_the_cpu(tmp_path: Path) -> None:
    write_model(tmp_path)
    assert Repository(tmp_path, "auto").model("colors").device == "cpu"


def test_the_automatic_variant_is_loaded_at_once_and_another_when_it_is_asked_for(
    make_client: MakeClient, tmp_path: Path
) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8", output_stride=8)  # its card lies: it cannot be run
    client = make_client(models_dir=tmp_path)
    assert post(client, encoded(flag())).json()["model"]["precision"] == "fp32"
    assert client.get("/models/colors").json()["variants"] == ["fp32", "int8"]
    for _ in range(2):
        assert_problem(post(client, encoded(flag()), precision="int8"), 503, "does not run", "its scores of an image")
    assert client.get("/models/colors").json()["variants"] == ["fp32"]
    [broken] = client.get("/models").json()["broken"]
    assert broken["file"] == "colors.int8.onnx" and "its scores of an image" in broken["reason"]


def test_a_variant_that_does_not_get_ready_holds_nothing_up_but_its_own_requests(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "try_out", lambda *_, **__: None)  # as if it did not end only now
    write_foreign(tmp_path, foreign_model())
    write_foreign(tmp_path, endless_model(), file="foreign.int8", precision="int8")
    client = make_client(models_dir=tmp_path, default_model="foreign", deadline_s=0.5, deadline_s_per_megapixel=0)
    image = encoded(flag())
    with ThreadPoolExecutor(8) as pool:  # more than there are workers
        late = list(pool.map(lambda _: post(client, image, precision="int8"), range(8)))
    assert {answer.status_code for answer in late} <= {429, 504}
    assert 504 in {answer.status_code for answer in late}
    wait_until(lambda: post(client, image).status_code == 200)  # the workers have let go
    assert client.get("/models").json()["broken"] == []


def test_where_the_best_variant_does_not_run_the_next_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preference, "has_int8_dot_product", lambda: True)
    price = {"fp32_mean_iou": 0.8, "lost_points": 0.1, "fp32_milliseconds": 20, "latency_ratio": 1.9}
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8", compared=price, output_stride=8)
    repository = Repository(tmp_path, "cpu")
    assert repository.variant("colors").card.precision == "fp32"
    assert list(repository.broken) == ["colors.int8.onnx"]


def test_variants_of_a_model_have_the_same_classes(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "a.int8.onnx", precision="int8", classes=OTHER_CLASSES)
    repository = Repository(tmp_path, "cpu")
    assert set(repository.model("colors").variants) == {"fp32"}
    assert repository.broken == {"a.int8.onnx": "its classes are not those of colors.onnx"}
