"""Model files and folders that cannot be reached for a while: what is in service stays."""

import errno
import os
from pathlib import Path

import pytest

from service.inference.models.repository import Repository
from tests.service.helpers.foreign_models import foreign_model, write_foreign
from tests.service.helpers.model_folders import looked_twice
from tests.service.helpers.tiny_models import write_model


@pytest.mark.parametrize("gone", [".", "below"])
def test_what_is_in_a_folder_that_cannot_be_listed_stays_in_service(
    gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    (models / "below").mkdir(parents=True)
    write_model(models / "below")
    write_model(models, "another.onnx", name="another")
    repository = Repository(models, "cpu")
    scandir = os.scandir

    def denied(folder: str | Path) -> object:
        if Path(folder) == models / gone:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    with monkeypatch.context() as context:  # root, as which containers' tests run, may list every folder
        context.setattr(os, "scandir", denied)
        assert set(looked_twice(repository).models) == {"colors", "another"}
        assert "cannot be listed" in repository.broken[gone]
        repository.try_again()
        assert gone in repository.broken
    assert not looked_twice(repository).broken
    (models / gone).rename(tmp_path / "elsewhere")
    expected = {"colors", "another"} if gone == "." else {"another"}  # the models folder itself is to be there
    assert set(looked_twice(repository).models) == expected


def test_folders_that_lie_too_deep_are_told_and_what_lies_less_deep_is_served(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path.joinpath(*["d"] * 100), name="deep")
    write_model(tmp_path.joinpath(*["d"] * 102), name="deeper")  # of a thousand, pytest itself could not get rid again
    repository = Repository(tmp_path, "cpu")
    for _ in range(2):
        assert set(repository.models) == {"colors", "deep"}
        assert repository.broken == {"/".join("d" * 101): "it cannot be listed: it lies more than 100 folders deep"}
        repository.refresh()


def test_a_file_that_cannot_be_reached_is_told_and_stays_in_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "closed.onnx", name="closed")
    repository = Repository(tmp_path, "cpu")
    stat = Path.stat

    def denied(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name in {"closed.onnx", "late.onnx"}:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    with monkeypatch.context() as context:  # as above
        context.setattr(Path, "stat", denied)
        write_model(tmp_path, "late.onnx", name="late")
        assert set(looked_twice(repository).models) == {"colors", "closed"}
        assert set(Repository(tmp_path, "cpu").models) == {"colors"}
        reason = "it cannot be reached: Permission denied"
        assert repository.broken == {"closed.onnx": reason, "late.onnx": reason}
    assert set(looked_twice(repository).models) == {"colors", "closed", "late"}
    assert not repository.broken


def test_a_card_that_cannot_be_reached_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_foreign(tmp_path, foreign_model())
    stat = Path.stat

    def denied(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.suffix == ".json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    with monkeypatch.context() as context:
        context.setattr(Path, "stat", denied)
        repository = Repository(tmp_path, "cpu")
        assert "Permission denied; that is tried again" in repository.broken["foreign.onnx"]
    assert list(looked_twice(repository).models) == ["foreign"]
