"""Runs between buffers in page-locked memory, as on a GPU: here on sessions of the CPU that say they are on one."""

import ctypes
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.inference.files.model_file import ModelFile
from service.inference.sessions import pinned
from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.inference.sessions.device import create_session
from service.inference.sessions.errors import RunFailed
from service.inference.sessions.pinned import Buffer, page_locked
from service.inference.sessions.runner import Runner
from tests.service.helpers.tiny_models import write_model
from tests.service_process import MODELS


class Cuda:
    """CUDA's runtime library, as far as it is called; its memory is the process's own."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room, self.held, self.error = room, dict[int, ctypes.Array[ctypes.c_char]](), 0

    def cudaGetLastError(self) -> int:  # noqa: N802
        error, self.error = self.error, 0
        return error

    def cudaHostAlloc(self, place: Any, size: ctypes.c_size_t, flags: int) -> int:  # noqa: ANN401, N802
        if size.value > self.room:
            self.error = 2  # cudaErrorMemoryAllocation
            return self.error
        memory = ctypes.create_string_buffer(size.value)
        place._obj.value = ctypes.addressof(memory)
        self.held[ctypes.addressof(memory)] = memory
        return 0

    def cudaFreeHost(self, place: ctypes.c_void_p) -> int:  # noqa: N802
        assert place.value is not None
        del self.held[place.value]
        return 0


@pytest.fixture
def cuda(says_cuda: None, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    cuda = Cuda()
    monkeypatch.setattr(pinned, "_cuda_runtime", lambda: cuda)
    return cuda


def images(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def opened(path: Path) -> tuple[Runner, ort.InferenceSession]:
    file = ModelFile.read(path)
    session = create_session(path.read_bytes(), "cpu")
    return Runner(session, file.interface, file.card), session


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=6))
def test_runs_of_any_shapes_one_after_the_other_give_what_the_session_gives(
    shapes: list[tuple[int, int, int]], cuda: Cuda, tmp_path: Path
) -> None:
    write_model(tmp_path)
    run, session = opened(tmp_path / "colors.onnx")
    given = [images(count, 16 * height, 16 * width, seed) for seed, (count, height, width) in enumerate(shapes)]
    found = [run(list(pixels[:, None]), Cancellation(), len(pixels)) for pixels in given]  # kept: no run may write into them
    for pixels, scores in zip(given, found, strict=True):
        assert np.array_equal(scores, session.run(["scores"], {"image": pixels})[0])
    assert len(cuda.held) <= 2
    del run
    gc.collect()
    assert not cuda.held


@pytest.mark.parametrize("name", ["animals-fcn8s-lite0", "nuclei-unet"])
def test_shipped_models_give_the_same_scores_in_two_buffers_that_are_used_again(name: str, cuda: Cuda) -> None:
    run, session = opened(MODELS / f"{name}.onnx")
    places = set()
    for seed in range(3):
        pixels = images(1, 64, 96, seed)
        assert np.array_equal(run([pixels], Cancellation()), session.run(["scores"], {"image": pixels})[0])
        places.add(tuple(cuda.held))
    assert len(places) == 1 and len(cuda.held) == 2


def test_runs_at_once_do_not_write_into_each_others_buffers(
    cuda: Cuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    run, session = opened(tmp_path / "colors.onnx")
    first, *others = (images(1, 64, 64, seed) for seed in range(3))
    run([first], Cancellation())  # both buffers are there
    run_bound, both = Runner._run_bound, threading.Barrier(2)

    def meeting(*given: Any) -> NDArray[np.generic]:  # noqa: ANN401
        scores = run_bound(*given)
        with suppress(threading.BrokenBarrierError):  # they do not meet: one waits for the other
            both.wait(0.5)
        return scores

    monkeypatch.setattr(Runner, "_run_bound", meeting)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: run([one], Cancellation()), others))
    for pixels, scores in zip(others, found, strict=True):
        assert np.array_equal(scores, session.run(["scores"], {"image": pixels})[0])


def test_buffers_for_a_large_image_are_not_kept(cuda: Cuda, tmp_path: Path) -> None:
    write_model(tmp_path)
    run, _ = opened(tmp_path / "colors.onnx")
    run([images(1, 1024, 1040)], Cancellation())
    gc.collect()
    assert not cuda.held


def test_a_graph_that_gives_another_shape_than_its_card_says_does_not_run(cuda: Cuda, tmp_path: Path) -> None:
    write_model(tmp_path, output_stride=8)  # it is 4
    run, _ = opened(tmp_path / "colors.onnx")
    with pytest.raises(RunFailed):
        run([images(1, 64, 64)], Cancellation())


def test_what_is_cancelled_is_not_run(cuda: Cuda, tmp_path: Path) -> None:
    write_model(tmp_path)
    run, _ = opened(tmp_path / "colors.onnx")
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        run([images(1, 64, 64)], cancellation)


def test_a_buffer_grows_to_the_largest_array_and_lets_go_of_what_it_had(cuda: Cuda) -> None:
    buffer = Buffer()
    sizes = []
    for shape in ((2, 3), (4, 5), (1, 1)):
        array = buffer.array(shape, np.float32)
        array[...] = 7
        assert array.shape == shape and array.dtype == np.float32
        del array
        sizes.append([len(memory) for memory in cuda.held.values()])
    assert sizes == [[24], [80], [80]]


def test_memory_is_not_given_back_while_an_array_looks_into_it(cuda: Cuda) -> None:
    array = page_locked(16)[4:8]
    gc.collect()
    assert cuda.held
    array[...] = 1
    del array
    assert not cuda.held


@pytest.mark.parametrize("runtime", [None, Cuda(room=0)], ids=["no CUDA", "no memory"])
def test_where_there_is_no_page_locked_memory_there_is_ordinary_memory_and_a_line_in_the_log(
    runtime: Cuda | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pinned, "_cuda_runtime", lambda: runtime)
    assert page_locked(100).shape == (100,)
    assert runtime is None or not runtime.error  # it would be found by others
    assert "no page-locked memory of 100 bytes" in caplog.text
