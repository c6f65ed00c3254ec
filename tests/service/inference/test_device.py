"""The device that is used is the device that is told."""

import itertools
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from service.contract import Precision
from service.inference.models.repository import Repository, load_models
from service.inference.models.variant import FAILED_RUNS
from service.inference.sessions import device, runner
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import DeviceUnavailable, ReportedDevice, create_session, require_one_runtime
from service.inference.sessions.errors import OutOfDeviceMemory
from service.settings import Device, Settings
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import post
from tests.service.helpers.model_folders import looked_twice
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiny_models import card, network, write_model

IMAGE = encoded(flag())
FP32 = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
COMPARED = {"fp32_mean_iou": 0.7, "lost_points": 0.0, "fp32_milliseconds": 36.0, "latency_ratio": 1.8}


class CudaFallsBack:
    """ONNX Runtime as it is with the GPU's wheel where a library is missing: CUDA is listed, and silently not used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        original = ort.InferenceSession

        def session(
            content: bytes, options: ort.SessionOptions, providers: list[object], enable_fallback: bool
        ) -> ort.InferenceSession:
            self.asked.append(providers[0])
            return original(content, options, providers=[device.CPU])

        monkeypatch.setattr(ort, "get_available_providers", lambda: [device.CUDA, device.CPU])
        monkeypatch.setattr(ort, "preload_dlls", lambda: None)
        monkeypatch.setattr(ort, "InferenceSession", session)


def test_cuda_that_falls_back_to_the_cpu_is_an_error_that_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    CudaFallsBack(monkeypatch)
    with pytest.raises(DeviceUnavailable, match=r"could not start CUDA: .*libonnxruntime_providers_cuda"):
        create_session(network(json.dumps(card())), "cuda")


def test_with_auto_the_cpu_it_fell_back_to_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, make_client: MakeClient
) -> None:
    cuda = CudaFallsBack(monkeypatch)
    write_model(tmp_path)
    client = make_client(models_dir=tmp_path, device="auto")
    assert cuda.asked[0] == (device.CUDA, FP32)
    assert "this model runs on the CPU: " in caplog.text
    assert client.get("/models/colors").json()["device"] == "cpu"
    assert post(client, IMAGE).json()["model"]["device"] == "cpu"


def test_a_limit_of_gpu_memory_is_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_client: MakeClient) -> None:
    cuda = CudaFallsBack(monkeypatch)
    write_model(tmp_path)
    make_client(models_dir=tmp_path, device="auto", gpu_memory_bytes=1 << 30)
    assert cuda.asked[0] == (device.CUDA, FP32 | {"gpu_mem_limit": "1073741824"})


def test_libraries_of_cuda_are_loaded_before_a_session_is_to_find_them(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = CudaFallsBack(monkeypatch)
    sessions_before: list[int] = []
    monkeypatch.setattr(ort, "preload_dlls", lambda: sessions_before.append(len(cuda.asked)))
    create_session(network(json.dumps(card())), "auto")
    assert sessions_before == [0]


def test_tensor_cores_round_what_is_half_precise_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cuda = CudaFallsBack(monkeypatch)
    write_model(tmp_path)
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    repository = Repository(tmp_path, "auto")
    expected: dict[Precision, str] = {"fp32": "0", "fp16": "1"}
    for precision, tf32 in expected.items():
        cuda.asked.clear()
        repository.variant("colors", precision).unload()
        repository.variant("colors", precision).model()
        assert [options["use_tf32"] for _, options in cuda.asked] == [tf32]


def test_a_run_that_cuda_fails_does_not_go_on_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EPFail("CUDA failure")

    CudaFallsBack(monkeypatch)
    session = create_session(network(json.dumps(card())), "auto")
    own = session._sess  # beneath what would try another provider
    session._sess = SimpleNamespace(run=fail, is_webgpu_graph_capture_enabled=own.is_webgpu_graph_capture_enabled)
    with pytest.raises(EPFail):
        session.run(["scores"], {"image": np.zeros((1, 64, 64, 3), np.uint8)})


def test_on_the_cpu_nothing_else_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cuda = CudaFallsBack(monkeypatch)
    write_model(tmp_path)
    assert Repository(tmp_path, "cpu").model("colors").device == "cpu"
    assert set(cuda.asked) == {device.CPU}


def installed(folder: Path, *names: str) -> list[str]:
    """A search path on which those wheels are installed."""
    for name in names:
        (folder / f"{name}-1.31.1.dist-info").mkdir()
    return [str(folder)]


@pytest.mark.parametrize("names", [["onnxruntime", "numpy"], ["onnxruntime_gpu"], []])
def test_one_wheel_of_onnx_runtime_is_enough(names: list[str], tmp_path: Path) -> None:
    require_one_runtime(installed(tmp_path, *names))


def test_both_wheels_at_once_are_refused_before_models_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = installed(tmp_path, "numpy", "onnxruntime_gpu", "OnnxRuntime")
    with pytest.raises(DeviceUnavailable, match="onnxruntime and onnxruntime-gpu are both installed"):
        require_one_runtime(folders)
    monkeypatch.syspath_prepend(*folders)
    with pytest.raises(DeviceUnavailable, match="both installed"):
        load_models(Settings(models_dir=tmp_path))


def test_a_session_has_a_thread_for_each_core_none_of_them_spins_and_no_memory_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "usable_cpus", lambda: 3)
    asked: list[ort.SessionOptions] = []
    original = ort.InferenceSession

    def session(
        content: bytes, options: ort.SessionOptions, providers: list[object], enable_fallback: bool
    ) -> ort.InferenceSession:
        asked.append(options)
        return original(content, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", session)
    for threads in (None, 1):
        create_session(network(json.dumps(card())), "cpu", threads)
    assert [options.intra_op_num_threads for options in asked] == [3, 1]
    for options in asked:
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert options.get_session_config_entry("session.use_env_allocators") == "1"
        assert not options.enable_mem_pattern  # there would be one for every size of images


def test_a_damaged_file_is_told_of_in_its_error_and_nowhere_else(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnicodeDecodeError):
        create_session(network(json.dumps(card())).replace(b"scale", b"scal\xff", 1), "cpu")
    assert capfd.readouterr().out == ""


def test_a_new_file_that_falls_back_is_told_and_keeps_no_other_from_being_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "auto")
    CudaFallsBack(monkeypatch)
    repository._open_session = partial(create_session, device="cuda")
    write_model(tmp_path, "another.onnx", name="another")
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    looked_twice(repository)
    assert "could not start CUDA" in repository.broken["another.onnx"]
    assert "broken.onnx" in repository.broken
    assert list(repository.models) == ["colors"]


@pytest.mark.parametrize(("asked", "said"), [("auto", "fell back from cuda"), ("cuda", "could not start CUDA")])
def test_a_session_that_is_opened_anew_and_falls_back_is_want_of_memory(
    asked: Device, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_model(tmp_path)
    variant = Repository(tmp_path, "cpu").variant("colors")
    CudaFallsBack(monkeypatch)
    variant._open_session = partial(create_session, device=asked)
    variant.runs_on = "cuda"  # as if it had run there
    variant.rest()
    for _ in range(FAILED_RUNS):
        assert not variant.is_failing
        with pytest.raises(OutOfDeviceMemory, match=said):
            variant.model()
        variant.ran_out_of_memory(None)
    assert variant.is_failing


def test_a_further_session_that_falls_back_is_want_of_memory_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first_alone: Iterator[ReportedDevice] = itertools.chain(["cuda"], itertools.repeat("cpu"))
    monkeypatch.setattr(runner, "reported_device", lambda _: next(first_alone))
    write_model(tmp_path, long_side=None, halo={"before": 16, "after": 16})
    model = Repository(tmp_path, "cpu").variant("colors").model()
    model.run(model.smallest_image, Cancellation())  # its shape has no session of its own then
    assert re.search("no session for 1 images of 16x16.* fell back from cuda", caplog.text)
    with pytest.raises(OutOfDeviceMemory, match="fell back from cuda"):
        model.tiling.network(4096, 4096)


def test_where_a_gpu_cannot_be_had_what_was_loaded_for_it_is_let_go_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    CudaFallsBack(monkeypatch)
    write_model(tmp_path)
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16", compared=COMPARED)
    repository = Repository(tmp_path, "auto")
    assert repository.variant("colors").card.precision == "fp32"
    assert repository.variant("colors", "fp16")._model is None
    kept = repository.variant("colors", "fp16").model()
    assert looked_twice(repository).variant("colors", "fp16").model() is kept
