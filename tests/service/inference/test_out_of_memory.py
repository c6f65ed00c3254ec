"""A device without memory for a run: smaller tiles, then a new session, then not ready; and back."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.inference.files import model_file, onnx_file
from service.inference.models import trial
from service.inference.models.repository import Repository
from service.inference.models.variant import FAILED_RUNS
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed
from service.inference.tiling import plan
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, mask_of, post, strongest_color
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.short_sessions import MESSAGE, UNPARSED, Short
from tests.service.helpers.tiny_models import LONG_SIDE, write_model
from tests.service_process import MODELS, ROOT


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Short:
    return Short(monkeypatch)


def test_an_image_that_does_not_fit_is_run_in_tiles(
    short: Short, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "UNKNOWN_BYTES_PER_PIXEL", 2000.0)
    write_model(tmp_path, halo={"before": 16, "after": 16})
    client = make_client(models_dir=tmp_path)
    image = flag(640, 448)
    short.room = 250 * 250
    assert np.array_equal(mask_of(client, encoded(image), resolution="native"), strongest_color(image))
    assert short.refused == 1
    assert client.get("/readyz").status_code == 200


def test_without_a_halo_it_is_503_and_the_session_is_opened_anew_for_the_next(short: Short, make_client: MakeClient) -> None:
    client = make_client()
    short.room, opened = 100, short.opened
    answer = post(client, encoded(flag()))
    assert_problem(answer, 503, "not enough memory")
    assert int(answer.headers["retry-after"]) > 0
    short.room = 1 << 40
    assert post(client, encoded(flag())).status_code == 200
    assert short.opened > opened


def test_without_memory_to_find_its_tiles_an_image_is_503(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client, image = make_client(models_dir=MODELS, default_model="animals-fcn8s-lite0"), encoded(flag(1500, 1000))
    with monkeypatch.context() as short:
        short.setattr(onnx_file, "_messages", lambda: {"Model": UNPARSED})
        assert_problem(post(client, image, resolution="native", precision="fp32"), 503, "not enough memory")
    assert post(client, image, resolution="native", precision="fp32").status_code == 200


def test_when_it_repeats_the_service_is_not_ready_until_a_run_succeeds(short: Short, make_client: MakeClient) -> None:
    client = make_client()
    short.room = 100
    for number in range(FAILED_RUNS):
        assert client.get("/readyz").status_code == 200, number
        assert_problem(post(client, encoded(flag())), 503, "not enough memory")
    assert_problem(client.get("/readyz"), 503, "not enough memory for colors")
    short.room = 1 << 40
    assert post(client, encoded(flag())).status_code == 200
    assert client.get("/readyz").status_code == 200


def test_where_a_session_cannot_be_opened_for_want_of_memory_it_is_tried_again(short: Short, make_client: MakeClient) -> None:
    client = make_client()
    short.room = 100
    assert_problem(post(client, encoded(flag())), 503, "not enough memory")
    short.room, short.opens = 1 << 40, False
    for _ in range(FAILED_RUNS):
        assert_problem(post(client, encoded(flag())), 503, "not enough memory")
    assert_problem(client.get("/readyz"), 503, "not enough memory for colors")
    short.opens = True
    assert post(client, encoded(flag())).status_code == 200
    assert client.get("/readyz").status_code == 200


def test_where_tiles_have_no_memory_their_sessions_are_opened_for_the_next(
    short: Short, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plan.RUN_BYTES, "cpu", 1 << 20)
    monkeypatch.setattr(plan, "SURELY_WHOLE_PIXELS", 0)
    write_model(tmp_path, halo={"before": 16, "after": 16})
    client, image = make_client(models_dir=tmp_path), flag(640, 448)
    short.opens = False
    assert_problem(post(client, encoded(image), resolution="native"), 503, "not enough memory")
    short.opens = True
    assert np.array_equal(mask_of(client, encoded(image), resolution="native"), strongest_color(image))
    assert 'segment_runs_total{schedule="tiled"} 1.0' in client.get("/metrics").text


def test_tiles_that_are_too_large_are_run_again_smaller(
    short: Short, tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plan.RUN_BYTES, "cpu", 12 << 20)
    monkeypatch.setattr(model_file, "UNKNOWN_BYTES_PER_PIXEL", 100.0)
    monkeypatch.setattr(plan, "SURELY_WHOLE_PIXELS", 0)
    write_model(tmp_path, halo={"before": 16, "after": 16})
    client, image = make_client(models_dir=tmp_path), flag(640, 448)
    short.room = 200 * 200
    assert np.array_equal(mask_of(client, encoded(image), resolution="native"), strongest_color(image))
    assert short.refused == 1


def test_what_no_tiles_help_is_tried_on_new_sessions_until_the_service_is_not_ready(
    short: Short, tmp_path: Path, make_client: MakeClient
) -> None:
    write_model(tmp_path, halo={"before": 16, "after": 16})
    client, image = make_client(models_dir=tmp_path), flag(640, 448)
    short.room = LONG_SIDE**2  # for what a model is tried out with when it is loaded
    for number in range(FAILED_RUNS):
        assert client.get("/readyz").status_code == 200, number
        short.events.clear()
        assert_problem(post(client, encoded(image), resolution="native"), 503, "not enough memory")
        loaded = ["opened", "run", "run"] if number else []
        assert short.events == [*loaded, "refused", "shrunk cpu:0", "opened", "refused"]  # whole, then in tiles
    assert_problem(client.get("/readyz"), 503, "not enough memory for colors")
    short.room = 1 << 40
    assert np.array_equal(mask_of(client, encoded(image), resolution="native"), strongest_color(image))
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        "CUDA error cudaErrorMemoryAllocation:out of memory",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN failure 4004: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "BFCArena::AllocateRawInternal Available memory of 605696 is smaller than requested bytes of 1572864",
    ],
)
def test_want_of_memory_is_known_by_its_text(message: str) -> None:
    with pytest.raises(OutOfDeviceMemory), Cancellation().run_options():
        raise RuntimeError(message)


def test_what_onnx_runtime_says_of_a_full_arena_is_want_of_memory(tmp_path: Path) -> None:
    write_model(tmp_path)
    program = (  # in a process of its own: the arena is the process's
        "import numpy as np, onnxruntime as ort\n"
        "from service.inference.sessions.errors import is_out_of_memory\n"
        "memory = ort.OrtMemoryInfo('Cpu', ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)\n"
        "ort.create_and_register_allocator(memory, ort.OrtArenaCfg({'max_mem': 1 << 20}))\n"
        "options = ort.SessionOptions()\n"
        "options.add_session_config_entry('session.use_env_allocators', '1')\n"
        f"session = ort.InferenceSession({str(tmp_path / 'colors.onnx')!r}, options)\n"
        "try:\n"
        "    session.run(None, {'image': np.zeros((1, 1024, 1024, 3), np.uint8)})\n"
        "except Exception as error:\n"
        "    assert is_out_of_memory(error), error\n"
        "else:\n"
        "    raise AssertionError('it fits')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_want_of_memory_is_no_verdict_on_a_file(short: Short, tmp_path: Path) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    short.room = 100
    variant = repository.variant("colors")
    variant.ran_out_of_memory(variant.model())
    repository.refresh()
    assert repository.variant("colors") is variant and not repository.broken
    write_model(tmp_path, "other.onnx", name="other")
    for _ in range(2):
        repository.refresh()
    assert list(repository.models) == ["colors"]
    assert list(repository.broken) == ["other.onnx"]
    short.room = 1 << 40
    repository.refresh()
    assert set(repository.models) == {"colors", "other"} and not repository.broken


def test_a_file_for_which_memory_is_short_is_not_tried_out_in_a_process_again_and_again(
    short: Short, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(trial, "try_out", lambda file, **_: tried.append(file.card.name))
    models = Repository(tmp_path, "cpu")
    short.room = 100
    write_model(tmp_path)
    for _ in range(4):
        models.refresh()
    assert list(models.broken) == ["colors.onnx"]
    assert tried == ["colors"]


def test_a_device_that_no_longer_opens_what_it_ran_is_no_verdict_on_a_file_either(short: Short, tmp_path: Path) -> None:
    write_model(tmp_path)
    repository = Repository(tmp_path, "cpu")
    variant = repository.variant("colors")
    variant.ran_out_of_memory(variant.model())
    short.opens, short.message = False, "CUDA failure 700: an illegal memory access was encountered"
    with pytest.raises(RunFailed, match="CUDA failure 700"):
        variant.model()
    repository.refresh()
    assert repository.variant("colors") is variant and not repository.broken
    short.opens = True
    assert variant.model().device == "cpu"


def test_a_session_is_opened_anew_from_what_was_loaded_even_if_the_file_has_been_written_to(tmp_path: Path) -> None:
    write_model(tmp_path)
    variant = Repository(tmp_path, "cpu").variant("colors")
    (tmp_path / "colors.onnx").write_bytes(b"written to")
    variant.ran_out_of_memory(variant.model())
    assert variant.model().device == "cpu"


def test_requests_that_share_a_session_count_as_one_failure(tmp_path: Path) -> None:
    write_model(tmp_path)
    variant = Repository(tmp_path, "cpu").variant("colors")
    model = variant.model()
    for _ in range(FAILED_RUNS):
        variant.ran_out_of_memory(model)
    assert not variant.is_failing
