"""Model files that appear, change and vanish while the service runs: what is in service stays until there is better."""

import hashlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from service.inference.files.model_file import InvalidModel, ModelFile
from service.inference.models import preference
from service.inference.models.model import Model
from service.inference.models.repository import NO_MEMORY, Repository
from service.inference.models.variant import Variant
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.errors import OutOfDeviceMemory
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem
from tests.service.helpers.model_folders import OTHER_CLASSES, changed, looked_twice, with_card
from tests.service.helpers.tiny_models import write_model
from tests.service.helpers.waiting import wait_until


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
    assert repository.model("colors").variants["fp32"].file.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_that_changes_is_replaced_and_who_holds_the_old_one_can_still_run_it(tmp_path: Path) -> None:
    write_model(tmp_path, dataset="first")
    repository = Repository(tmp_path, "cpu")
    old = repository.variant("colors")
    changed(tmp_path, dataset="second")
    assert looked_twice(repository).variant("colors").card.dataset == "second"
    assert old.card.dataset == "first"
    assert old.model().run(np.zeros((1, 16, 16, 3), np.uint8), Cancellation())[0].shape == (3, 4, 4)


def test_a_file_that_vanishes_is_no_longer_served(tmp_path: Path) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "colors.onnx").unlink()
    repository.refresh()
    assert not repository.models


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
    wait_until(lambda: client.get("/readyz").status_code == 200 and client.get("/models").json()["broken"])
    [broken] = client.get("/models").json()["broken"]
    assert broken["file"] == "bad.onnx" and "no ONNX file" in broken["reason"]
    assert "segment_broken_models 1.0" in client.get("/metrics").text
    assert "segment_models 1.0" in client.get("/metrics").text


def test_a_file_that_is_renamed_is_served_without_a_break(tmp_path: Path) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    before = repository.variant("colors")
    (tmp_path / "colors.onnx").rename(tmp_path / "renamed.onnx")
    repository.refresh()
    assert repository.variant("colors") is before
    assert before.file.path.name == "renamed.onnx"


def test_a_file_that_is_renamed_twice_without_memory_to_load_it_does_not_stop_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "a.onnx").hardlink_to(tmp_path / "colors.int8.onnx")
    (tmp_path / "colors.int8.onnx").rename(tmp_path / "b.onnx")
    (tmp_path / "colors.onnx").unlink()
    monkeypatch.setattr(Model, "load", Mock(side_effect=OutOfDeviceMemory))
    looked_twice(repository)
    assert repository.broken == {"a.onnx": NO_MEMORY, "b.onnx": NO_MEMORY}
    monkeypatch.undo()
    repository.refresh()
    assert repository.variant("colors", "int8").file.path.name == "a.onnx"


def test_a_file_that_is_moved_over_another_is_served_without_a_break(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "other.onnx", name="other")
    repository = Repository(tmp_path, "cpu")
    before = repository.variant("colors")
    (tmp_path / "colors.onnx").rename(tmp_path / "other.onnx")
    for _ in range(3):
        repository.refresh()
        assert list(repository.models) == ["colors"]
        assert repository.variant("colors") is before


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
    assert looked_twice(repository).variant("colors").card.dataset == "second"


def test_a_new_file_of_a_name_does_not_take_the_place_of_the_one_in_service(tmp_path: Path) -> None:
    write_model(tmp_path, "b.onnx", dataset="first")
    repository = Repository(tmp_path, "cpu")
    write_model(tmp_path, "a.onnx", dataset="second")
    for _ in range(2):
        assert looked_twice(repository).variant("colors").card.dataset == "first"
        assert repository.broken == {"a.onnx": "another fp32 file of colors is served: b.onnx"}
    (tmp_path / "b.onnx").rename(tmp_path / "c.onnx")
    assert looked_twice(repository).variant("colors").card.dataset == "first"
    (tmp_path / "c.onnx").write_bytes(with_card(dataset="a third"))
    assert looked_twice(repository).variant("colors").card.dataset == "a third"


def test_a_new_fp32_with_other_classes_does_not_take_the_place_of_a_variant_in_service(tmp_path: Path) -> None:
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    before = repository.variant("colors")
    write_model(tmp_path, classes=OTHER_CLASSES)
    for _ in range(2):
        assert looked_twice(repository).variant("colors") is before
        assert repository.broken == {"colors.onnx": "its classes are not those of colors.int8.onnx"}
    write_model(tmp_path, "colors.int8.onnx", precision="int8", classes=OTHER_CLASSES, dataset="second")
    served = looked_twice(repository).model("colors")
    assert set(served.variants) == {"fp32", "int8"} and not repository.broken
    assert {variant.card.classes[0].name for variant in served.variants.values()} == {"other red"}


def test_of_two_variants_in_service_the_one_that_answers_says_the_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preference, "has_int8_dot_product", lambda: True)
    price = {"fp32_mean_iou": 0.8, "lost_points": 0.1, "fp32_milliseconds": 20, "latency_ratio": 1.9}
    write_model(tmp_path)
    write_model(tmp_path, "z.int8.onnx", precision="int8", compared=price)
    repository = Repository(tmp_path, "cpu")
    before = repository.variant("colors")
    assert before.card.precision == "int8"
    changed(tmp_path, classes=OTHER_CLASSES)
    assert looked_twice(repository).variant("colors") is before
    assert repository.broken == {"colors.onnx": "its classes are not those of z.int8.onnx"}


def test_a_file_that_becomes_another_model_does_not_take_the_place_of_one_in_service(tmp_path: Path) -> None:
    write_model(tmp_path, "a.onnx", name="other")
    write_model(tmp_path, "b.onnx")
    repository = Repository(tmp_path, "cpu")
    before = repository.variant("colors")
    write_model(tmp_path, "a.onnx", dataset="second")
    assert looked_twice(repository).variant("colors") is before
    assert repository.broken == {"a.onnx": "another fp32 file of colors is served: b.onnx"}


def test_who_still_holds_what_is_no_longer_served_can_tell_its_device(tmp_path: Path) -> None:
    write_model(tmp_path)
    held = Repository(tmp_path, "cpu").model("colors")
    held.preferred.unload()
    assert held.device == "cpu"


def test_what_is_no_longer_in_service_is_unloaded_once_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "z.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    in_service: list[bool] = []

    def unload(variant: Variant) -> None:
        in_service.append(variant in repository.model("colors").variants.values())

    monkeypatch.setattr(Variant, "unload", unload)
    changed(tmp_path, classes=OTHER_CLASSES)
    assert set(looked_twice(repository).model("colors").variants) == {"fp32"}
    assert in_service == [False]


@pytest.mark.parametrize("becomes", ["another model", "no model", "nothing"])
def test_a_variant_that_nobody_has_asked_for_is_still_what_was_found(becomes: str, tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    path, other = tmp_path / "colors.int8.onnx", tmp_path / "other"
    if becomes == "nothing":
        path.unlink()
    else:
        other.write_bytes(with_card(precision="int8", dataset="other") if becomes == "another model" else b"no model")
        other.replace(path)
    variant = repository.variant("colors", "int8")
    assert variant.model().run(np.zeros((1, 16, 16, 3), np.uint8), Cancellation())[0].shape == (3, 4, 4)
    assert variant.card.dataset == "none"


def test_a_variant_that_was_written_to_before_anybody_asked_for_it_is_told(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.int8.onnx", precision="int8")
    repository = Repository(tmp_path, "cpu")
    (tmp_path / "colors.int8.onnx").write_bytes(with_card(precision="int8", dataset="other"))
    with pytest.raises(InvalidModel, match="written to"):
        repository.variant("colors", "int8").model()
    assert "written to" in repository.broken["colors.int8.onnx"]


def test_a_hidden_file_is_no_model(tmp_path: Path) -> None:
    write_model(tmp_path, ".colors.onnx")
    repository = Repository(tmp_path, "cpu")
    assert not repository.models and not repository.broken
