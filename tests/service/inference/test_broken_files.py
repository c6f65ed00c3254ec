"""Files in the folder that are no model, cannot be read or do not run: they are told, and the good ones are served."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from onnx import TensorProto

from service.inference.files import onnx_file
from service.inference.files.model_file import InvalidModel
from service.inference.models.model import Model
from service.inference.models.repository import NO_MEMORY, Repository
from service.inference.sessions.errors import OutOfDeviceMemory
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, post
from tests.service.helpers.live import colors_app
from tests.service.helpers.model_folders import changed, looked_twice, with_card
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.short_sessions import UNPARSED
from tests.service.helpers.tiny_models import card, network, write_model
from tests.service.helpers.waiting import wait_until

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
    "scores of half precision": network(json.dumps(card()), scores_type=TensorProto.FLOAT16),
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
    write_model(tmp_path, "good.onnx", name="good")
    assert list(Repository(tmp_path, "cpu").models) == ["good"]
    assert "left out" in caplog.text
    assert "bad.onnx" in caplog.text


def test_a_folder_or_a_dangling_link_with_a_models_name_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "link.onnx").symlink_to("nowhere")
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    assert list(repository.models) == ["colors"]
    assert repository.broken == {"folder.onnx": "it is no regular file", "link.onnx": "a dangling symbolic link"}
    repository.try_again()
    assert set(repository.broken) == {"folder.onnx", "link.onnx"}
    write_model(tmp_path, "nowhere", name="later")
    for _ in range(2):
        repository.refresh()
    assert set(repository.models) == {"colors", "later"}
    assert set(repository.broken) == {"folder.onnx"}


def test_a_file_that_was_broken_for_a_while_is_no_longer_listed_once_the_one_before_it_is_back(tmp_path: Path) -> None:
    served, broken = tmp_path / "served", tmp_path / "broken"
    write_model(served)
    broken.mkdir()
    (broken / "colors.onnx").write_bytes(b"bad")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "current").symlink_to(served)
    repository = Repository(folder, "cpu")
    for target, listed in ((broken, {"current/colors.onnx"}), (served, set())):
        (folder / "current").unlink()
        (folder / "current").symlink_to(target)
        for _ in range(2):
            repository.refresh()
        assert set(repository.broken) == listed
        assert set(repository.models) == {"colors"}


def test_a_file_that_is_renamed_over_a_broken_one_is_not_listed_as_broken(tmp_path: Path) -> None:
    write_model(tmp_path, "new.onnx")
    (tmp_path / "colors.onnx").write_bytes(b"bad")
    repository = Repository(tmp_path, "cpu")
    assert set(repository.broken) == {"colors.onnx"}
    (tmp_path / "new.onnx").rename(tmp_path / "colors.onnx")
    repository.refresh()
    assert repository.broken == {}
    assert set(repository.models) == {"colors"}


def test_a_model_in_a_bad_folder_does_not_keep_the_service_from_answering(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    write_model(tmp_path)
    assert make_client(models_dir=tmp_path).get("/readyz").status_code == 200


def test_a_name_of_several_lines_is_one_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a\n2026-01-01 INFO forged\x1b[2J\u2028é.onnx").write_bytes(b"bad")
    repository = Repository(tmp_path, "cpu")
    assert list(repository.broken) == [r"a\n2026-01-01 INFO forged\x1b[2J\u2028é.onnx"]
    [line] = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    assert line.isprintable()


def test_names_that_are_not_unicode_can_be_told(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.onnx")).write_bytes(b"bad")
    write_model(tmp_path)
    assert [entry["file"] for entry in make_client(models_dir=tmp_path).get("/models").json()["broken"]] == ["?.onnx"]


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(3 << 30)
    assert Repository(tmp_path, "cpu").broken == {"large.onnx": "it has 3221225472 bytes, the limit is 1073741824"}


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


@pytest.mark.parametrize("content", [b"", with_card()[:200], with_card(output_stride=8)], ids=["empty", "cut short", "lies"])
def test_a_broken_file_in_the_place_of_a_good_one_is_told_and_the_good_one_stays(content: bytes, tmp_path: Path) -> None:
    write_model(tmp_path, dataset="first")
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "colors.onnx").write_bytes(content)
    looked_twice(repository)
    assert repository.variant("colors").card.dataset == "first"
    assert list(repository.broken) == ["colors.onnx"]
    changed(tmp_path, dataset="second")
    looked_twice(repository)
    assert repository.variant("colors").card.dataset == "second"
    assert not repository.broken


def test_a_variant_that_has_never_run_does_not_stay_in_service_when_its_file_is_broken(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "colors.int8.onnx").write_bytes(b"broken")
    assert list(looked_twice(repository).model("colors").variants) == ["fp32"]
    assert list(repository.broken) == ["colors.int8.onnx"]


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
            assert looked_twice(repository).variant("colors").card.dataset == "first"
            assert repository.broken == {"colors.onnx": str(error) or NO_MEMORY}
    expected = "second" if isinstance(error, OutOfDeviceMemory) else "first"  # what is no fault of the file's passes
    assert looked_twice(repository).variant("colors").card.dataset == expected


def test_a_file_that_cannot_be_read_just_now_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(tmp_path, "cpu")
    write_model(tmp_path)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as unreadable:
        unreadable.setattr(os, "fdopen", denied)
        for _ in range(3):
            repository.refresh()
        assert repository.broken == {"colors.onnx": "it cannot be read: Permission denied; that is tried again"}
    repository.refresh()
    assert list(repository.models) == ["colors"]
    assert not repository.broken


def test_a_service_that_does_not_look_for_changes_tries_what_could_not_be_read_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.app.RETRY_S", 0.01)
    attempts: list[object] = []

    def denied(file: int, *_: object, **__: object) -> None:
        attempts.append(file)
        raise PermissionError(13, "Permission denied")

    write_model(tmp_path)
    with monkeypatch.context() as unreadable:
        unreadable.setattr(os, "fdopen", denied)
        with TestClient(colors_app(tmp_path)) as client:
            write_model(tmp_path, "other.onnx", name="other")
            before = len(attempts)
            wait_until(lambda: len(attempts) > before + 3)  # long enough to see that the other file does not change
            assert client.get("/readyz").status_code == 503
            unreadable.undo()
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert [entry["name"] for entry in client.get("/models").json()["models"]] == ["colors"]


def test_what_there_was_no_memory_for_is_tried_again_though_changes_are_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    with monkeypatch.context() as short:
        short.setattr(os, "fdopen", lambda *_, **__: bytes(1 << 62))
        repository = Repository(tmp_path, "cpu")
    assert repository.broken == {"colors.onnx": "not enough memory to read it; that is tried again"}
    write_model(tmp_path / "new", name="new")
    for _ in range(2):
        repository.try_again()
    assert list(repository.models) == ["colors"]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ((threading.Timer, "start"), RuntimeError("can't start new thread")),
        ((np, "full"), MemoryError("Unable to allocate 1 MiB")),
        ((np, "isfinite"), MemoryError()),
    ],
    ids=["threads", "memory for an image", "memory for scores"],
)
def test_what_the_system_lacks_is_no_fault_of_a_file(
    place: tuple[object, str], error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    write_model(tmp_path)
    with monkeypatch.context() as short:
        short.setattr(*place, fail)
        repository = Repository(tmp_path, "cpu")
        assert not repository.models
        assert "not enough memory" in repository.broken["colors.onnx"]
    repository.try_again()
    assert list(repository.models) == ["colors"] and not repository.broken


def test_a_file_that_there_is_no_memory_to_parse_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    with monkeypatch.context() as short:
        short.setattr(onnx_file, "_messages", lambda: {"Model": UNPARSED})
        repository = Repository(tmp_path, "cpu")
        assert repository.broken == {"colors.onnx": "not enough memory to read it; that is tried again"}
    repository.try_again()
    assert list(repository.models) == ["colors"]


def test_a_variant_that_cannot_be_read_when_it_is_first_asked_for_is_503_and_then_answers(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    client = make_client(models_dir=tmp_path)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as unreadable:
        unreadable.setattr(os, "fdopen", denied)
        assert_problem(post(client, encoded(flag()), precision="fp16"), 503, "cannot be read")
    assert post(client, encoded(flag()), precision="fp16").status_code == 200
