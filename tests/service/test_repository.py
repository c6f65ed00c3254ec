"""A folder of model files: the good ones are served, whatever else lies beside them."""

import hashlib
import itertools
import json
import os
import time
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from onnx import TensorProto

from service.inference import variants
from service.inference.cancellation import Cancellation
from service.inference.device import DeviceUnavailable
from service.inference.errors import OutOfDeviceMemory
from service.inference.model import Model
from service.inference.model_file import InvalidModel, ModelFile
from service.inference.repository import NO_MEMORY, Repository, UnknownModel, Variant
from service.inference.watch import Watch
from tests.service.answers import assert_problem, post
from tests.service.conftest import MakeClient
from tests.service.pictures import encoded, flag
from tests.service.tiny_models import card, network, write_model


def test_models_are_found_in_folders_below(tmp_path: Path) -> None:
    write_model(tmp_path, name="one")
    write_model(tmp_path / "research" / "deep", name="two")
    assert set(Repository(tmp_path, "cpu").models) == {"one", "two"}


def test_the_name_on_the_card_counts_and_not_the_name_of_the_file(tmp_path: Path) -> None:
    write_model(tmp_path, "file.onnx", name="colors")
    assert list(Repository(tmp_path, "cpu").models) == ["colors"]


def test_variants_of_one_model_are_told_apart_by_precision(tmp_path: Path) -> None:
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    repository = Repository(tmp_path, "cpu")
    assert set(repository.served("colors").variants) == {"int8", "fp16"}
    assert repository.get("colors", "fp16").card.precision == "fp16"
    assert repository.get("colors").card.precision == "int8"
    with pytest.raises(UnknownModel, match="fp32"):
        repository.get("colors", "fp32")
    write_model(tmp_path)
    assert Repository(tmp_path, "cpu").get("colors").card.precision == "fp32"


def with_card(**changes: object) -> bytes:
    """The model with a card that says something else."""
    return network(json.dumps(card(**changes)))


OTHER_CLASSES = [entry | {"name": f"other {entry['name']}"} for entry in cast(list[dict[str, str]], card()["classes"])]
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
    assert list(Repository(tmp_path, "cpu").models) == ["colors"]
    assert "left out" in caplog.text
    assert "bad.onnx" in caplog.text


def test_a_folder_or_a_dangling_link_with_a_models_name_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "link.onnx").symlink_to("nowhere")
    write_model(tmp_path)
    assert list(Repository(tmp_path, "cpu").models) == ["colors"]


def test_of_two_files_of_one_name_and_precision_the_first_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_model(tmp_path, "a.onnx", dataset="first")
    write_model(tmp_path, "b.onnx", dataset="second")
    assert Repository(tmp_path, "cpu").get("colors").card.dataset == "first"
    assert "already" in caplog.text


def test_a_model_in_a_bad_folder_does_not_keep_the_service_from_answering(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    write_model(tmp_path)
    assert make_client(models_dir=tmp_path).get("/readyz").status_code == 200


def test_asking_for_cuda_where_there_is_none_is_an_error_and_no_silent_cpu(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable):  # nothing there to prove that CUDA is in use
        Repository(tmp_path, "cuda")
    write_model(tmp_path)
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DeviceUnavailable, match="SEGMENT_DEVICE=cuda"):
        Repository(tmp_path, "cuda")
    assert Repository(tmp_path, "auto").served("colors").device == "cpu"


def changed(folder: Path, **changes: object) -> None:
    """Replace the model, as a person would who copies a new file over it: its time differs, however fast this test is."""
    write_model(folder, **changes)  # type: ignore[arg-type]
    path = folder / "colors.onnx"
    path.touch()
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + next(SECONDS) * 10**9))


SECONDS = itertools.count(1)


def looked_twice(repository: Repository) -> Repository:
    repository.refresh()
    repository.refresh()
    return repository


def test_a_file_that_appears_is_served_once_it_has_stopped_changing(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "cpu")
    assert not repository.models
    content = with_card()
    path = tmp_path / "colors.onnx"
    path.write_bytes(content[:100])
    repository.refresh()
    path.write_bytes(content)
    repository.refresh()
    assert not repository.models and not repository.broken
    repository.refresh()
    assert repository.served("colors").variants["fp32"].file.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_that_changes_is_replaced_and_who_holds_the_old_one_can_still_run_it(tmp_path: Path) -> None:
    write_model(tmp_path, dataset="first")
    repository = Repository(tmp_path, "cpu")
    old = repository.get("colors")
    changed(tmp_path, dataset="second")
    assert looked_twice(repository).get("colors").card.dataset == "second"
    assert old.card.dataset == "first"
    assert old.model().run(np.zeros((1, 16, 16, 3), np.uint8), Cancellation()).shape == (3, 4, 4)


def test_a_file_that_vanishes_is_no_longer_served(tmp_path: Path) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "colors.onnx").unlink()
    repository.refresh()
    assert not repository.models


@pytest.mark.parametrize("content", [b"", with_card()[:200], with_card(output_stride=8)], ids=["empty", "cut short", "lies"])
def test_a_broken_file_in_the_place_of_a_good_one_is_told_and_the_good_one_stays(content: bytes, tmp_path: Path) -> None:
    write_model(tmp_path, dataset="first")
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "colors.onnx").write_bytes(content)
    looked_twice(repository)
    assert repository.get("colors").card.dataset == "first"
    assert list(repository.broken) == ["colors.onnx"]
    changed(tmp_path, dataset="second")
    looked_twice(repository)
    assert repository.get("colors").card.dataset == "second"
    assert not repository.broken


def test_a_file_is_not_read_again_while_it_does_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    repository = Repository(tmp_path, "cpu")

    def read(path: Path) -> ModelFile:
        raise AssertionError(path)

    monkeypatch.setattr(ModelFile, "read", read)
    assert list(looked_twice(repository).models) == ["colors"]
    assert list(repository.broken) == ["bad.onnx"]


def test_the_service_looks_by_itself_and_tells_of_broken_files(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(models_dir=tmp_path, reload_s=0.02)
    assert_problem(client.get("/readyz"), 503)
    write_model(tmp_path)
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    end = time.monotonic() + 30
    while client.get("/readyz").status_code != 200 or not client.get("/models").json()["broken"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    [broken] = client.get("/models").json()["broken"]
    assert broken["file"] == "bad.onnx" and "no ONNX file" in broken["reason"]
    assert "segment_broken_models 1.0" in client.get("/metrics").text
    assert "segment_models 1.0" in client.get("/metrics").text


def test_the_automatic_variant_is_loaded_at_once_and_another_when_it_is_asked_for(
    make_client: MakeClient, tmp_path: Path
) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8", output_stride=8)  # its card lies: it cannot be run
    client = make_client(models_dir=tmp_path)
    assert post(client, encoded(flag())).json()["model"]["precision"] == "fp32"
    assert client.get("/models/colors").json()["variants"] == ["fp32", "int8"]
    for _ in range(2):
        assert_problem(post(client, encoded(flag()), precision="int8"), 503, "does not run", "scores are")
    assert client.get("/models/colors").json()["variants"] == ["fp32"]
    [broken] = client.get("/models").json()["broken"]
    assert broken["file"] == "colors.int8.onnx" and "scores are" in broken["reason"]


def test_where_the_best_variant_does_not_run_the_next_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "multiplies_bytes", lambda: True)
    price = {"fp32_mean_iou": 0.8, "lost_points": 0.1, "fp32_milliseconds": 20, "latency_ratio": 1.9}
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8", compared=price, output_stride=8)
    repository = Repository(tmp_path, "cpu")
    assert repository.get("colors").card.precision == "fp32"
    assert list(repository.broken) == ["colors.int8.onnx"]


def test_a_variant_that_has_never_run_does_not_stay_in_service_when_its_file_is_broken(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "colors.int8.onnx").write_bytes(b"broken")
    assert list(looked_twice(repository).served("colors").variants) == ["fp32"]
    assert list(repository.broken) == ["colors.int8.onnx"]


def test_a_file_that_is_renamed_is_served_without_a_break(tmp_path: Path) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    before = repository.get("colors")
    (tmp_path / "colors.onnx").rename(tmp_path / "renamed.onnx")
    repository.refresh()
    assert repository.get("colors") is before
    assert before.file.path.name == "renamed.onnx"


def test_two_files_of_a_name_are_not_loaded_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path, "a.onnx", dataset="first")
    write_model(tmp_path, "b.onnx", dataset="second")
    repository = Repository(tmp_path, "cpu")

    def load(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(Model, "load", load)
        assert list(looked_twice(repository).broken) == ["b.onnx"]
    (tmp_path / "a.onnx").unlink()
    assert looked_twice(repository).get("colors").card.dataset == "second"


def test_a_new_file_of_a_name_does_not_take_the_place_of_the_one_in_service(tmp_path: Path) -> None:
    write_model(tmp_path, "b.onnx", dataset="first")
    repository = Repository(tmp_path, "cpu")
    write_model(tmp_path, "a.onnx", dataset="second")
    for _ in range(2):
        assert looked_twice(repository).get("colors").card.dataset == "first"
        assert repository.broken == {"a.onnx": "there is already a fp32 of colors: b.onnx"}
    (tmp_path / "b.onnx").rename(tmp_path / "c.onnx")
    assert looked_twice(repository).get("colors").card.dataset == "first"
    (tmp_path / "c.onnx").write_bytes(with_card(dataset="a third"))
    assert looked_twice(repository).get("colors").card.dataset == "a third"


def test_variants_of_a_model_have_the_same_classes(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "a.int8.onnx", precision="int8", classes=OTHER_CLASSES)
    repository = Repository(tmp_path, "cpu")
    assert set(repository.served("colors").variants) == {"fp32"}
    assert repository.broken == {"a.int8.onnx": "its classes are not those of colors.onnx"}


@pytest.mark.parametrize("error", [OutOfDeviceMemory(), InvalidModel("it does not run")])
def test_a_new_file_that_cannot_be_warmed_up_leaves_the_old_one_in_service(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path, dataset="first")
    repository = Repository(tmp_path, "cpu")
    changed(tmp_path, dataset="second")

    def fail(_: Model) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Model, "warm_up", fail)
        for _ in range(2):
            assert looked_twice(repository).get("colors").card.dataset == "first"
            assert repository.broken == {"colors.onnx": str(error) or NO_MEMORY}
    expected = "second" if isinstance(error, OutOfDeviceMemory) else "first"  # what is no fault of the file's passes
    assert looked_twice(repository).get("colors").card.dataset == expected


def test_names_that_are_not_unicode_can_be_told(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.onnx")).write_bytes(b"bad")
    write_model(tmp_path)
    assert [entry["file"] for entry in make_client(models_dir=tmp_path).get("/models").json()["broken"]] == ["?.onnx"]


def test_a_file_that_cannot_be_read_just_now_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(tmp_path, "cpu")
    write_model(tmp_path)

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as unreadable:
        unreadable.setattr(Path, "read_bytes", denied)
        for _ in range(3):
            repository.refresh()
        assert repository.broken == {"colors.onnx": "it cannot be read: Permission denied; that is tried again"}
    repository.refresh()
    assert list(repository.models) == ["colors"]
    assert not repository.broken


def test_what_there_was_no_memory_for_is_tried_again_though_changes_are_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    with monkeypatch.context() as short:
        short.setattr(Path, "read_bytes", lambda path: bytes(1 << 62))
        repository = Repository(tmp_path, "cpu")
    assert repository.broken == {"colors.onnx": "not enough memory to read it; that is tried again"}
    write_model(tmp_path / "new", name="new")
    watch = Watch(repository, 0)
    watch.look()
    assert list(repository.models) == ["colors"]
    watch.look()
    assert list(repository.models) == ["colors"]


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(3 << 30)
    assert Repository(tmp_path, "cpu").broken == {"large.onnx": "it has 3221225472 bytes, the limit is 1073741824"}


def test_a_variant_that_cannot_be_read_when_it_is_first_asked_for_is_503_and_then_answers(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    client = make_client(models_dir=tmp_path)

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as unreadable:
        unreadable.setattr(Path, "read_bytes", denied)
        assert_problem(post(client, encoded(flag()), precision="fp16"), 503, "cannot be read")
    assert post(client, encoded(flag()), precision="fp16").status_code == 200


@pytest.mark.timeout(30)
def test_a_named_pipe_is_told_and_not_waited_for(tmp_path: Path) -> None:
    write_model(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    repository = Repository(tmp_path, "cpu")
    assert repository.broken == {"pipe.onnx": "it is no regular file"}
    (tmp_path / "beside.onnx").write_bytes(network())
    os.mkfifo(tmp_path / "beside.json")
    assert looked_twice(repository).broken == {
        "beside.onnx": "beside.json is not valid: it is no regular file",
        "pipe.onnx": "it is no regular file",
    }
    (tmp_path / "pipe.onnx").unlink()
    write_model(tmp_path, "pipe.onnx", name="other")
    assert set(looked_twice(repository).models) == {"colors", "other"}


def test_a_new_fp32_with_other_classes_does_not_take_the_place_of_a_variant_in_service(tmp_path: Path) -> None:
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    before = repository.get("colors")
    write_model(tmp_path, classes=OTHER_CLASSES)
    for _ in range(2):
        assert looked_twice(repository).get("colors") is before
        assert repository.broken == {"colors.onnx": "its classes are not those of colors.int8.onnx"}
    write_model(tmp_path, "colors.int8.onnx", precision="int8", classes=OTHER_CLASSES, dataset="second")
    served = looked_twice(repository).served("colors")
    assert set(served.variants) == {"fp32", "int8"} and not repository.broken
    assert {variant.card.classes[0].name for variant in served.variants.values()} == {"other red"}


def test_of_two_variants_in_service_the_one_that_answers_says_the_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "multiplies_bytes", lambda: True)
    price = {"fp32_mean_iou": 0.8, "lost_points": 0.1, "fp32_milliseconds": 20, "latency_ratio": 1.9}
    write_model(tmp_path)
    write_model(tmp_path, "z.int8.onnx", precision="int8", compared=price)
    repository = Repository(tmp_path, "cpu")
    before = repository.get("colors")
    assert before.card.precision == "int8"
    changed(tmp_path, classes=OTHER_CLASSES)
    assert looked_twice(repository).get("colors") is before
    assert repository.broken == {"colors.onnx": "its classes are not those of z.int8.onnx"}


def test_a_file_that_becomes_another_model_does_not_take_the_place_of_one_in_service(tmp_path: Path) -> None:
    write_model(tmp_path, "a.onnx", name="other")
    write_model(tmp_path, "b.onnx")
    repository = Repository(tmp_path, "cpu")
    before = repository.get("colors")
    write_model(tmp_path, "a.onnx", dataset="second")
    assert looked_twice(repository).get("colors") is before
    assert repository.broken == {"a.onnx": "there is already a fp32 of colors: b.onnx"}


def test_who_still_holds_what_is_no_longer_served_can_tell_its_device(tmp_path: Path) -> None:
    write_model(tmp_path)
    held = Repository(tmp_path, "cpu").served("colors")
    held.best.unload()
    assert held.device == "cpu"


def test_what_is_no_longer_in_service_is_unloaded_once_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "z.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    in_service: list[bool] = []

    def unload(variant: Variant) -> None:
        in_service.append(variant in repository.served("colors").variants.values())

    monkeypatch.setattr(Variant, "unload", unload)
    changed(tmp_path, classes=OTHER_CLASSES)
    assert set(looked_twice(repository).served("colors").variants) == {"fp32"}
    assert in_service == [False]
