"""Files are tried out in a process of their own: one that ends it, or never ends, costs the service nothing."""

import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import onnx
import psutil
import pytest
from onnx import helper

from service.inference.files.model_file import MAX_FILE_BYTES, ModelFile
from service.inference.models import model, trial
from service.inference.models.repository import NO_MEMORY, Repository
from service.inference.sessions.device import DeviceUnavailable
from service.inference.sessions.errors import OutOfDeviceMemory
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


def tried() -> list[psutil.Process]:
    """The processes that try out files now."""

    def is_trial(process: psutil.Process) -> bool:
        try:
            return "service.inference.models.trial" in process.cmdline()
        except psutil.Error:  # another child of the tests, which has ended
            return False

    return [one for one in psutil.Process().children() if is_trial(one)]


def during_the_trial_of(network: onnx.ModelProto, folder: Path, do: Callable[[psutil.Process], None]) -> str:
    """Why a file is left out if `do` happens while it is tried out."""

    def meanwhile() -> None:
        # It is marked for the kernel as the first process to kill.
        wait_until(lambda: any(Path(f"/proc/{one.pid}/oom_score_adj").read_text() == "1000\n" for one in tried()))
        do(*tried())

    write_foreign(folder, network)
    thread = threading.Thread(target=meanwhile)
    thread.start()
    reason = broken(folder)
    thread.join()
    return reason


@pytest.mark.timeout(60)
def test_where_memory_runs_out_the_trial_is_killed_and_not_the_service(tmp_path: Path) -> None:
    assert during_the_trial_of(endless_model(), tmp_path, psutil.Process.kill) == NO_MEMORY


@pytest.mark.timeout(60)
def test_a_trial_that_is_stopped_from_outside_is_no_verdict_on_the_file(tmp_path: Path) -> None:
    reason = during_the_trial_of(endless_model(), tmp_path, psutil.Process.terminate)
    assert reason == "it cannot be tried out: status -15; that is tried again"


def test_what_lacks_memory_in_the_trial_is_not_run_in_the_service_and_is_tried_out_again_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = foreign_model()
    network.graph.initializer.append(helper.make_tensor("size", onnx.TensorProto.INT64, [1], [1 << 44]))
    network.graph.node.append(helper.make_node("Identity", ["size"], ["shape"]))
    network.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["unused"]))
    network.graph.output.append(helper.make_tensor_value_info("unused", onnx.TensorProto.FLOAT, None))
    write_foreign(tmp_path, network)
    monkeypatch.setattr(model.Model, "load", None)
    monkeypatch.setattr(trial, "PAUSE_S", 0.5)
    run = Mock(wraps=subprocess.run)
    monkeypatch.setattr(subprocess, "run", run)
    read = Mock(wraps=ModelFile.read)
    monkeypatch.setattr(ModelFile, "read", read)
    repository = Repository(tmp_path, "cpu")
    for _ in range(3):
        repository.refresh()
        assert repository.broken == {"foreign.onnx": NO_MEMORY}
    assert (run.call_count, read.call_count) == (1, 1)
    time.sleep(0.6)
    repository.refresh()
    assert run.call_count == 2


def test_a_trial_ended_by_a_signal_without_a_name_is_told(tmp_path: Path) -> None:
    reason = during_the_trial_of(endless_model(), tmp_path, lambda trial: trial.send_signal(40))
    assert reason == "it ends the process that tries it out: signal 40"


def test_what_lacks_the_device_in_the_trial_is_not_run_in_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the service itself has filled the GPU's memory."""
    run = Mock(side_effect=lambda command, **_: subprocess.CompletedProcess(command, 0, b"lacks the device: no libcublas", b""))
    monkeypatch.setattr(subprocess, "run", run)
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    write_model(tmp_path, "other.onnx", name="other")
    looked_twice(repository)
    assert repository.broken == {"other.onnx": "no libcublas"}
    repository.refresh()
    assert repository.broken == {"other.onnx": NO_MEMORY}
    assert run.call_count == 1
    write_foreign(tmp_path, foreign_model())
    with pytest.raises(DeviceUnavailable, match="no libcublas"):
        Repository(tmp_path, "cpu")


def test_memory_that_does_not_suffice_to_read_the_file_in_the_trial_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_with_little_memory(command: list[str], **given: object) -> object:
        arguments = ["prlimit", f"--as={MAX_FILE_BYTES}", *command]
        return run(arguments, **given)

    write_model(tmp_path)
    file = ModelFile.read(tmp_path / "colors.onnx")
    os.truncate(tmp_path / "colors.onnx", MAX_FILE_BYTES)
    run: Callable[..., object] = subprocess.run
    monkeypatch.setattr(subprocess, "run", run_with_little_memory)
    with pytest.raises(OutOfDeviceMemory, match="not enough memory to read it"):
        trial.try_out(file, "cpu", None)


def test_a_file_that_is_renamed_meanwhile_is_served_as_soon_as_it_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[[Path], ModelFile] = ModelFile.read
    repository = Repository(tmp_path, "cpu")

    def read_before_it_is_renamed(path: Path) -> ModelFile:
        file = read(path)
        path.rename(tmp_path / "renamed.onnx")
        monkeypatch.undo()
        return file

    write_model(tmp_path)
    repository.refresh()
    monkeypatch.setattr(ModelFile, "read", read_before_it_is_renamed)
    repository.refresh()
    reason = "it cannot be read: No such file or directory; that is tried again"
    assert repository.broken == {"colors.onnx": reason}
    assert list(looked_twice(repository).models) == ["colors"]
    assert not repository.broken


def test_only_what_says_that_it_has_run_is_taken_to_have_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # So subprocess reports a child that crashed, where the service was started with SIGCHLD ignored.
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, b"", b""))
    write_foreign(tmp_path, foreign_model())
    assert broken(tmp_path) == "it cannot be tried out: status 0; that is tried again"


def test_the_trial_has_the_services_device_and_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def runs(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, b"runs: ", b"")

    monkeypatch.setattr(subprocess, "run", runs)
    write_foreign(tmp_path, foreign_model())
    assert Repository(tmp_path, "auto", 1 << 30).models
    assert commands[0][-2:] == ["auto", str(1 << 30)]


def test_it_is_found_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    write_foreign(tmp_path / "models", foreign_model())
    monkeypatch.chdir(tmp_path)
    assert list(Repository(Path("models"), "cpu").models) == ["foreign"]


def test_a_reason_in_any_script_is_told_whatever_the_encoding_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    network = foreign_model()
    network.graph.initializer.append(helper.make_tensor("three", onnx.TensorProto.INT64, [1], [3]))
    network.graph.node.append(helper.make_node("Reshape", ["float", "three"], ["unused"], name="größe 大"))
    network.graph.output.append(helper.make_tensor_value_info("unused", onnx.TensorProto.FLOAT, None))
    write_foreign(tmp_path, network)
    assert "größe 大" in broken(tmp_path)


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
