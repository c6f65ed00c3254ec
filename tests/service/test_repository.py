"""A folder of model files: the good ones are served, whatever else lies beside them."""

import json
from pathlib import Path

import pytest
from onnx import TensorProto

from service.inference.device import DeviceUnavailable
from service.inference.repository import Repository, UnknownModel
from tests.service.conftest import MakeClient
from tests.service.tiny_models import card, network, write_model


def test_models_are_found_in_folders_below(tmp_path: Path) -> None:
    write_model(tmp_path, name="one")
    write_model(tmp_path / "research" / "deep", name="two")
    assert set(Repository.load(tmp_path, "cpu").models) == {"one", "two"}


def test_the_name_on_the_card_counts_and_not_the_name_of_the_file(tmp_path: Path) -> None:
    write_model(tmp_path, "file.onnx", name="colors")
    assert list(Repository.load(tmp_path, "cpu").models) == ["colors"]


def test_variants_of_one_model_are_told_apart_by_precision(tmp_path: Path) -> None:
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    repository = Repository.load(tmp_path, "cpu")
    assert set(repository.variants("colors")) == {"int8", "fp16"}
    assert repository.get("colors", "fp16").card.precision == "fp16"
    assert repository.get("colors").card.precision == "int8"
    with pytest.raises(UnknownModel, match="fp32"):
        repository.get("colors", "fp32")
    write_model(tmp_path)
    assert Repository.load(tmp_path, "cpu").get("colors").card.precision == "fp32"


def with_card(**changes: object) -> bytes:
    """The model with a card that says something else."""
    return network(json.dumps(card(**changes)))


TWO_CLASSES = [{"id": number, "name": str(number), "color": "#000000"} for number in range(2)]
BAD = {
    "empty": b"",
    "text": b"this is no model" * 100,
    "cut short": with_card()[:200],
    "no card": network(),
    "a card that is no JSON": network("{"),
    "an empty card": network("{}"),
    "a card of another shape": network("[1, 2]"),
    "another name for the input": network(json.dumps(card()), input_name="pixels"),
    "another type of input": network(json.dumps(card()), input_type=TensorProto.FLOAT),
    "an opset from the future": network(json.dumps(card()), opset=999),
    "fewer classes on the card": with_card(classes=TWO_CLASSES),
    "another output stride on the card": with_card(output_stride=8),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_model_is_left_out_with_a_word_in_the_log(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.onnx").write_bytes(BAD[name])
    write_model(tmp_path, "good.onnx")
    assert list(Repository.load(tmp_path, "cpu").models) == ["colors"]
    assert "left out" in caplog.text
    assert "bad.onnx" in caplog.text


def test_a_folder_or_a_dangling_link_with_a_models_name_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "link.onnx").symlink_to("nowhere")
    write_model(tmp_path)
    assert list(Repository.load(tmp_path, "cpu").models) == ["colors"]


def test_of_two_files_of_one_name_and_precision_the_first_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_model(tmp_path, "a.onnx", dataset="first")
    write_model(tmp_path, "b.onnx", dataset="second")
    assert Repository.load(tmp_path, "cpu").get("colors").card.dataset == "first"
    assert "already" in caplog.text


def test_a_model_in_a_bad_folder_does_not_keep_the_service_from_answering(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    write_model(tmp_path)
    assert make_client(models_dir=tmp_path).get("/readyz").status_code == 200


def test_asking_for_cuda_where_there_is_none_is_an_error_and_no_silent_cpu(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable):  # nothing there to prove that CUDA is in use
        Repository.load(tmp_path, "cuda")
    write_model(tmp_path)
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DeviceUnavailable, match="SEGMENT_DEVICE=cuda"):
        Repository.load(tmp_path, "cuda")
    assert Repository.load(tmp_path, "auto").get("colors").device == "cpu"
