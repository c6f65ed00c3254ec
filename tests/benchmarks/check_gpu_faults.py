"""What the service does when a GPU fails it, through its public door: too little memory, and a lost context. For check_gpu."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from service.inference.models.variant import FAILED_RUNS
from service.inference.scheduling.watchdog import CHECK_INTERVAL_S, FAILED_TRIALS
from service.settings import Device
from tests.benchmarks.faulty_service import QUIET_S
from tests.benchmarks.load import DEFAULT_MODEL, jpeg, one_model
from tests.service.helpers.answers import assert_problem, labels_of
from tests.service_process import ROOT, Server, start_server, stop_server

FAULTY = ("-m", "tests.benchmarks.faulty_service")
PATIENCE_S = 600.0  # until a service is ready whose shapes are warmed, or answers
# The one file that answers on that device: no other steps in for it.
FILE: dict[Device, Path] = {"cpu": DEFAULT_MODEL, "cuda": DEFAULT_MODEL.with_suffix(".fp16.onnx")}
# (width, height) that takes about 1.4 GB of a GPU when it is run whole, as it is there in fp16, and a fifth in small tiles.
LARGE: dict[Device, tuple[int, int]] = {"cpu": (2048, 1536), "cuda": (4096, 3072)}
# MiB: enough for small tiles alone; perhaps for ordinary images alone; for the weights alone. (Weights that do not fit either
# may be allocated beside the limit.)
LIMITS: dict[Device, tuple[int, int, int]] = {"cpu": (64, 56, 32), "cuda": (640, 96, 16)}
SAME = 0.999  # of the labels, at least
LATE_S = 10.0  # beyond what the watchdog needs, until /livez must have turned


def post(server: Server, content: bytes, resolution: str) -> httpx.Response:
    """POST /segment, for a mask."""
    path = f"/segment?format=mask&resolution={resolution}"
    return httpx.post(server.url + path, content=content, headers={"Content-Type": "image/jpeg"}, timeout=PATIENCE_S)


def ready(server: Server) -> httpx.Response:
    """GET /readyz."""
    return httpx.get(server.url + "/readyz", timeout=5)


@contextmanager
def faulty(models: Path, ready: str = "/readyz", **settings: str) -> Iterator[tuple[Server, Path]]:
    """A service that can fail, and its log, which an error tells the end of."""
    log = models / "log"
    settings |= {"MODELS_DIR": str(models), "RELOAD_S": "0"}
    try:
        server = start_server(command=FAULTY, patience=PATIENCE_S, ready=ready, log=str(log), **settings)
        try:
            yield server, log
        finally:
            server.process.kill()  # nothing to do if it has ended
            server.process.wait()
    except Exception as error:
        raise AssertionError(f"{error!r}; {settings}, the service's last words: {log.read_text()[-2000:]}") from error


def outcome(server: Server, log: Path, content: bytes, expected: NDArray[np.uint8]) -> str:
    """What becomes of a large image; an AssertionError if that is nothing that is documented."""
    if (found := ready(server)).status_code != 200:
        assert_problem(found, 503, "no model is loaded")
        assert_problem(post(server, content, "native"), 503, "no model is loaded")
        return "not ready: the model does not fit"
    answer = post(server, content, "native")
    if answer.status_code == 200:
        same = float((labels_of(answer.content) == expected).mean())
        assert same >= SAME, f"{same:.4%} of the labels are those of a service without a limit"
        assert ready(server).status_code == 200
        how = "in small tiles" if "once more in small tiles" in log.read_text() else "at once"
        return f"200 {how}, {same:.4%} of the labels as without a limit; ready"
    for _ in range(FAILED_RUNS - 1):
        assert_problem(answer, 503, "not enough memory")
        assert ready(server).status_code == 200
        answer = post(server, content, "native")
    assert_problem(answer, 503, "not enough memory")
    assert_problem(ready(server), 503, "not enough memory")
    small = post(server, jpeg(), "model")
    assert small.status_code == 200 and ready(server).status_code == 200, small.text
    return f"503, not ready after {FAILED_RUNS} of them, ready after an ordinary image"


def check_out_of_memory(device: Device) -> str:
    """An image that does not fit is run in small tiles, and a service in which nothing fits says so. On the CPU, too."""
    content, lines = jpeg(*LARGE[device]), []
    tried = "auto" if device == "cuda" else device  # with `cuda` a service without a model does not start
    with one_model(FILE[device].name) as models:
        with faulty(models, DEVICE=device) as (server, _):
            answer = post(server, content, "native")
            assert answer.status_code == 200, answer.text
        for limit in LIMITS[device]:
            with faulty(models, "/livez", DEVICE=tried, GPU_MEMORY_BYTES=str(limit << 20)) as (server, log):
                lines.append(f"{limit} MiB: {outcome(server, log, content, labels_of(answer.content))}")
                assert "runs on the CPU" not in log.read_text() or device == "cpu"
        first, *_, last = lines
        assert "in small tiles" in first and "not ready" in last, lines
        if device == "cuda":
            lines.append(f"with SEGMENT_DEVICE=cuda: {refusal(models, LIMITS[device][-1])}")
    return "\n".join(lines)


def refusal(models: Path, limit: int) -> str:
    """What a service says that does not start for want of memory."""
    settings = {"SEGMENT_DEVICE": "cuda", "SEGMENT_MODELS_DIR": str(models), "SEGMENT_GPU_MEMORY_BYTES": str(limit << 20)}
    command, environment = [sys.executable, "-m", "service"], os.environ | settings | {"SEGMENT_PORT": "0"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 2 and last.startswith("cannot start"), ended.stderr[-2000:]
    return last


def check_lost_context(device: Device) -> str:
    """After a kernel has lost the context, requests are answered 503, and /livez within the watchdog's time as well."""
    with one_model(FILE[device].name) as models, faulty(models, DEVICE=device) as (server, _):
        assert post(server, jpeg(), "model").status_code == 200
        assert httpx.get(server.url + "/livez").status_code == 200
        server.process.send_signal(signal.SIGUSR1)
        start = time.monotonic()
        longest = FAILED_TRIALS * (QUIET_S + CHECK_INTERVAL_S) + LATE_S
        while (answer := post(server, jpeg(), "model")).status_code == 200:  # the signal is on its way
            assert time.monotonic() < start + longest, "images are still segmented: the context is not lost"
        assert_problem(answer, 503, "does not run")
        while httpx.get(server.url + "/livez").status_code == 200:
            assert time.monotonic() < start + longest, f"/livez is 200 after {longest:.0f} s"
            time.sleep(0.05)
        seconds = time.monotonic() - start
        for path in ("/livez", "/readyz"):
            assert_problem(httpx.get(server.url + path), 503, "no longer segmented")
        status = stop_server(server)
    return (
        f"POST /segment: {answer.json()['detail']}\n"
        f"/livez was 503 after {seconds:.1f} s of at most {longest:.1f}; SIGTERM then ended the service with status {status}"
    )
