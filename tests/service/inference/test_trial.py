"""Files are tried out in a process of their own: one that ends it, or never ends, costs the service nothing."""

import errno
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import helper

from service.inference.files.model_file import ModelFile
from service.inference.models import model
from service.inference.models.repository import Repository
from tests.service.helpers.foreign_models import CRASH, broken, crashing, endless_model, foreign_model, write_foreign
from tests.service.helpers.model_folders import looked_twice, with_card
from tests.service.helpers.tiny_models import write_model
from tests.service.helpers.waiting import wait_until


def inlined_without_end() -> onnx.ModelProto:
    """A graph of forty functions, each of which calls the next one twice: ONNX Runtime makes 2^40 nodes of them."""
    network = foreign_model()
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("twice", 1)]
    network.opset_import.append(opsets[1])
    for depth in range(40):
        nodes = [helper.make_node(f"F{depth + 1}", [given], [made], domain="twice") for given, made in ("xy", "yz")]
        network.functions.append(helper.make_function("twice", f"F{depth}", ["x"], ["z"], nodes, opsets))
    last = helper.make_node("Relu", ["x"], ["z"])
    network.functions.append(helper.make_function("twice", "F40", ["x"], ["z"], [last], opsets))
    network.graph.node.append(helper.make_node("F0", ["float"], ["unused"], domain="twice"))
    return network


def test_a_foreign_file_that_crashes_is_left_out_at_the_start(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_foreign(tmp_path, crashing(foreign_model()))
    repository = Repository(tmp_path, "cpu")
    assert list(repository.models) == ["colors"]
    assert repository.broken == {"foreign.onnx": CRASH}


def test_a_file_that_crashes_and_appears_later_does_not_take_the_place_of_the_one_in_service(tmp_path: Path) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    served = repository.variant("colors")
    (tmp_path / "colors.onnx").write_bytes(crashing(onnx.load_from_string(with_card())).SerializeToString())
    assert looked_twice(repository).variant("colors") is served
    assert repository.broken == {"colors.onnx": CRASH}


@pytest.mark.timeout(60)
def test_a_graph_that_onnx_runtime_never_has_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "TRIAL_S", 0.5)
    write_foreign(tmp_path, inlined_without_end())
    assert broken(tmp_path) == "to load it and to run test images takes longer than 1 s"


@pytest.mark.timeout(60)
def test_where_memory_runs_out_the_trial_is_killed_and_not_the_service(tmp_path: Path) -> None:
    def tried() -> list[psutil.Process]:
        return [one for one in psutil.Process().children() if "service.inference.models.trial" in one.cmdline()]

    def is_first_to_be_killed() -> bool:
        return any(Path(f"/proc/{one.pid}/oom_score_adj").read_text() == "1000\n" for one in tried())

    def kill() -> None:
        wait_until(is_first_to_be_killed)
        [one] = tried()
        one.kill()

    write_foreign(tmp_path, endless_model())
    killer = threading.Thread(target=kill)
    killer.start()
    assert broken(tmp_path) == "it ends the process that tries it out: SIGKILL, as when memory runs out"
    killer.join()


def test_a_file_that_is_written_to_meanwhile_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Callable[[Path], ModelFile] = ModelFile.read
    write_model(tmp_path, dataset="first")
    repository = Repository(tmp_path, "cpu")

    def read_before_it_changes(path: Path) -> ModelFile:
        file = read(path)
        path.write_bytes(with_card(dataset="third"))
        monkeypatch.undo()
        return file

    write_model(tmp_path, dataset="second")
    repository.refresh()
    monkeypatch.setattr(ModelFile, "read", read_before_it_changes)
    repository.refresh()
    reason = "it cannot be tried out: it was written to meanwhile; that is tried again"
    assert repository.broken == {"colors.onnx": reason}
    assert repository.variant("colors").card.dataset == "first"
    assert looked_twice(repository).variant("colors").card.dataset == "third"
    assert not repository.broken


def test_where_no_process_can_be_started_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    write_foreign(tmp_path, foreign_model())
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", fails)
        repository = Repository(tmp_path, "cpu")
    reason = "it cannot be tried out: Resource temporarily unavailable; that is tried again"
    assert repository.broken == {"foreign.onnx": reason}
    repository.refresh()
    assert list(repository.models) == ["foreign"]
