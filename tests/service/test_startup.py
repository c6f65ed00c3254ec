"""Starting, stopping, and being several: with real processes where it takes one."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from service.settings import variables
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import admitted, assert_problem, mask_in, mask_of, post
from tests.service.helpers.foreign_models import endless_model, write_foreign
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiny_models import card, network, write_model
from tests.service.helpers.waiting import wait_until
from tests.service_process import ROOT, Server, start_server, stop_server

PHOTOS = ROOT / "service" / "static" / "samples"


def started(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m service` with arguments or settings with which it should end at once."""
    environment = os.environ | {f"SEGMENT_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_cuda_is_refused_with_a_reason_where_there_is_none(colors_folder: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    ended = started(DEVICE="cuda", MODELS_DIR=str(colors_folder))
    assert ended.returncode == 2
    assert "cannot start: SEGMENT_DEVICE=cuda" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http"), ("DEVICE", "tpu"), ("MAX_PIXELS", "0"), ("HOST", "x" * 64), ("HOST", "a..b")]
)
def test_a_bad_setting_is_refused_by_name(name: str, value: str) -> None:
    ended = started(**{name: value})
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"cannot start: SEGMENT_{name}: ")
    assert len(ended.stderr.splitlines()) == 1


def test_help_tells_every_setting_and_its_default() -> None:
    told = started("--help")
    assert told.returncode == 0
    for name, field in variables().items():
        assert name in told.stdout and field.description is not None and field.description in told.stdout
    assert "[8000]" in told.stdout


def test_an_argument_is_refused_with_what_can_be_set_instead() -> None:
    refused = started("--port", "9")
    assert refused.returncode == 2
    assert "SEGMENT_PORT" in refused.stderr


def test_a_setting_that_there_is_not_is_told(colors_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stop_server(start_server(log=str(log), MODELS_DIR=str(colors_folder), DEFAULT_MODEL="colors", PROT="1"))
    assert "not a setting, ignored: SEGMENT_PROT" in log.read_text()


def test_all_that_is_written_is_json_where_that_is_asked_for(tmp_path: Path) -> None:
    write_model(tmp_path)
    bad = onnx.load_from_string(network(json.dumps(card(name="bad"))))
    bad.graph.initializer[0].CopyFrom(helper.make_tensor("scale", TensorProto.FLOAT, [7], [1.0] * 7))  # for no such width
    (tmp_path / "bad.onnx").write_bytes(bad.SerializeToString())
    log = tmp_path / "log"
    stop_server(start_server(log=str(log), MODELS_DIR=str(tmp_path), DEFAULT_MODEL="colors", LOG_FORMAT="json", DEVICE="cpu"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any("left out: bad.onnx: a test image" in line["message"] for line in lines)


@pytest.mark.parametrize("interrupts", [2, 3])
def test_further_interrupts_end_the_process_cleanly_in_the_middle_of_a_run(interrupts: int) -> None:
    server = start_server()
    image = encoded(flag(3000, 2000))
    with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, client, image, resolution="native", format="mask")
        while not admitted(client):
            time.sleep(0.01)
        time.sleep(0.3)  # into the network
        for _ in range(interrupts):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.3 if interrupts == 2 else 0.01)
        if interrupts == 2:
            assert_problem(asked.result(timeout=30), 503, "stopping")
        else:
            asked.exception(timeout=30)
        assert server.process.wait(timeout=30) in (0, 1)  # no signal, such as of an abort


@pytest.mark.parametrize("first", [True, False], ids=["as process 1", "as another"])
def test_it_ends_cleanly_while_a_new_file_is_being_tried_out(first: bool, tmp_path: Path) -> None:
    write_model(tmp_path)
    main = (AS_FIRST if first else "") + MAIN
    server = start_server(("-c", main), MODELS_DIR=str(tmp_path), DEFAULT_MODEL="colors", RELOAD_S="0.1")
    write_foreign(tmp_path, endless_model())
    wait_until(lambda: bool(psutil.Process(server.process.pid).children()))
    [trial] = psutil.Process(server.process.pid).children()
    time.sleep(0.5)  # until the graph runs
    server.process.send_signal(signal.SIGTERM if first else signal.SIGINT)
    assert server.process.wait(timeout=30) == 0  # no signal, such as of an abort
    wait_until(lambda: not trial.is_running() or trial.status() == psutil.STATUS_ZOMBIE)


def test_a_hundred_models_are_served_whatever_the_soft_limit_of_files(tmp_path: Path) -> None:
    for number in range(100):
        write_model(tmp_path, f"{number}.onnx", name=f"colors-{number}")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    command = ("-c", f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, {most})); {MAIN}")
    with start_server(command, MODELS_DIR=str(tmp_path), DEFAULT_MODEL="colors-0") as server:
        assert len(httpx.get(server.url + "/models").json()["models"]) == 100


def test_sigterm_lets_accepted_requests_finish(colors_folder: Path) -> None:
    image, megapixels, count = encoded(flag(1920, 1920)), 1.920**2, 6
    server = start_server(MODELS_DIR=str(colors_folder), DEFAULT_MODEL="colors")
    with httpx.Client(base_url=server.url, timeout=120) as client, ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(post, client, image, resolution="native", format="mask") for _ in range(count)]
        finished = 0
        while finished + round(admitted(client) / megapixels) < count:  # until every one of them has been accepted
            finished = sum(future.done() for future in futures)
        server.process.send_signal(signal.SIGTERM)
        assert finished < count
        assert [future.result().status_code for future in futures] == [200] * count
    server.process.wait(timeout=60)


def test_a_server_started_without_a_model_is_alive_and_not_ready(tmp_path: Path) -> None:
    environment = os.environ | {"SEGMENT_PORT": "0", "SEGMENT_MODELS_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "service"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        running = next(line for line in process.stderr if "running on" in line)
        url = running.partition("running on ")[2].split()[0]
        assert httpx.get(url + "/livez").status_code == 200
        assert_problem(httpx.get(url + "/readyz"), 503)
        process.terminate()


def test_requests_at_once_get_the_answers_that_they_get_one_by_one(server: Server) -> None:
    cat, astronaut = ((PHOTOS / name).read_bytes() for name in ("cat.jpg", "astronaut.jpg"))
    bodies = [cat, astronaut, encoded(flag(300, 200)), encoded(flag(7, 400)), encoded(flag(), "WEBP"), encoded(flag(), "TIFF")]
    with httpx.Client(base_url=server.url, timeout=120) as client:
        expected = [post(client, body).json() for body in bodies]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda body: post(client, body).json(), 3 * bodies))
    for answer, right in zip(found, 3 * expected, strict=True):
        assert (mask_in(answer) == mask_in(right)).all()
        assert answer["classes"] == right["classes"]
        assert answer["image"] == right["image"]


def test_two_applications_in_one_process_share_nothing(make_client: MakeClient, tmp_path: Path) -> None:
    write_model(tmp_path, name="other")
    first = make_client(max_upload_bytes=100_000)
    second = make_client(models_dir=tmp_path, default_model="other", max_upload_bytes=10, api_keys=("key",))
    assert (mask_of(first, encoded(flag())) < 3).all()
    assert_problem(second.post("/segment", content=encoded(flag()), headers={"X-API-Key": "key"}), 413, limit=10)
    assert_problem(post(second, b""), 401)
    assert [entry["name"] for entry in first.get("/models").json()["models"]] == ["colors"]
    assert 'status="413"' not in first.get("/metrics").text
    lines = second.get("/metrics").text.splitlines()
    assert not [line for line in lines if '"/segment"' in line and 'status="200"' in line]


MAIN = "import sys; sys.argv[1:] = []; from service.__main__ import main; sys.exit(main())"
AS_FIRST = "import os; os.getpid = lambda: 1; "
MOMENTS = {
    "at once": "gc.disable = signalled",
    "where exceptions are ignored": "gc.disable = type('Deleted', (), {'__del__': signalled})",
    "while models are loaded": "import service.inference.models.repository as there; there.load_models = signalled",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("name", "process"),
    [("SIGTERM", AS_FIRST), ("SIGINT", AS_FIRST), ("SIGINT", "")],
    ids=["SIGTERM to process 1", "SIGINT to process 1", "SIGINT"],
)
def test_a_signal_during_the_start_ends_the_process_at_once(name: str, process: str, moment: str) -> None:
    signalled = f"import gc, signal, time; signalled = lambda *_: (signal.raise_signal(signal.{name}), time.sleep(60))"
    command = [sys.executable, "-c", f"{process}{signalled}; {MOMENTS[moment]}; {MAIN}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.Signals[name], "", "")


def test_sigterm_during_the_start_ends_any_other_process() -> None:
    with subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(0.3)
        process.terminate()
        _, told = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in told


def hears_term(process: psutil.Process) -> bool:
    """Whether it has a handler for SIGTERM."""
    caught = Path(f"/proc/{process.pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_sigterm_in_a_process_namespace_of_its_own_is_heard_during_the_start() -> None:
    namespace = ["unshare", "--pid", "--fork", "--map-root-user", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare, and the right to a namespace")
    with subprocess.Popen([*namespace, sys.executable, "-m", "service"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as outer:
        while outer.poll() is None and not (first := [one for one in psutil.Process(outer.pid).children() if hears_term(one)]):
            time.sleep(0.01)
        first[0].terminate()
        try:
            _, told = outer.communicate(timeout=30)
        finally:
            outer.kill()
        assert (outer.returncode, told) == (128 + signal.SIGTERM, "")


def test_a_service_that_has_stopped_as_process_1_ends_with_0(colors_folder: Path) -> None:
    for command, status in ((("-c", AS_FIRST + MAIN), 0), (("-m", "service"), -signal.SIGTERM)):
        server = start_server(command, MODELS_DIR=str(colors_folder), DEFAULT_MODEL="colors")
        assert stop_server(server) == status


def ended_after(*changes: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`main()` in a fresh interpreter that telemetry is not yet switched off in, after some statements."""
    program = "\n".join(["import sys", *changes, MAIN])
    inherited = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_where_uploads_have_no_folder_it_does_not_start() -> None:
    ended = ended_after("import tempfile", "tempfile._candidate_tempdir_list = lambda: ['/nowhere']")
    assert ended.returncode == 2
    assert "cannot start: " in ended.stderr and "No usable temporary directory found in ['/nowhere']" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_telemetry_is_off_before_onnx_runtime_is_imported() -> None:
    look = [
        "import os",
        "class Look:",
        "    def find_spec(self, name, *_):",
        "        if name == 'onnxruntime':",
        "            sys.exit(os.environ.get('ORT_DISABLE_TELEMETRY', 'unset'))",
        "sys.meta_path.insert(0, Look())",
    ]
    assert ended_after(*look).stderr == "1\n"
    assert ended_after(*look, ORT_DISABLE_TELEMETRY="0").stderr == "0\n"  # an operator's word


def test_it_may_open_as_many_files_as_the_system_lets_it(colors_folder: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    command = ("-c", f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, {most})); {MAIN}")
    with start_server(command, MODELS_DIR=str(colors_folder), DEFAULT_MODEL="colors") as server:
        assert psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE)[0] > 256
