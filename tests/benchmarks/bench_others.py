"""The same requests against LitServe, BentoML, and FastAPI around torch, each server on one core; rounds by turns.

Like for like, LitServe and BentoML give the same answer, with the areas and confidence of each class in the mask's legend;
"mask alone" is less work than this service does.

make .venv-bench/installed && .venv-bench/bin/python -m tests.benchmarks.bench_others
"""

import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from tests.benchmarks.load import BarePipeline, WholePipeline, crowd, jpeg, on_cores, rate, row
from tests.service_process import ROOT, Server, start_server

CLIENTS, ROUNDS, ROUND_S, PATIENCE_S = 16, 5, 6.0, 120.0
SERVER_CORE, CLIENT_CORE = 0, 1
OTHERS = "tests.benchmarks.competitors"
BOUNDARY = "benchmark"
LEAST_AGREED = 0.98  # of the pixels: int8 and torch round otherwise


def form(content: bytes) -> bytes:
    """The image as the field `file` of a form, which all of them take."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def start(command: Callable[[int], Sequence[str]]) -> Server:
    """Start a competitor on a free port, and wait until the port is open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(command(port), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, f"{command(port)} ended with status {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return Server(f"http://127.0.0.1:{port}", process)
    raise AssertionError(f"{command(port)} did not open its port")


def python(module: str, *arguments: str) -> Callable[[int], Sequence[str]]:
    """How to start a module that takes a port."""
    return lambda port: [sys.executable, "-m", f"{OTHERS}.{module}", str(port), *arguments]


def bentoml(name: str) -> Callable[[int], Sequence[str]]:
    """How to start a service of BentoML."""
    serve = [str(Path(sys.executable).parent / "bentoml"), "serve", f"{OTHERS}.bentoml_app:{name}"]
    return lambda port: [*serve, "--port", str(port), "--host", "127.0.0.1"]


def stop(server: Server) -> None:
    """The process and all that it has started."""
    family = [*psutil.Process(server.process.pid).children(recursive=True), psutil.Process(server.process.pid)]
    for process in family:
        process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=20)
    for process in left:
        process.kill()


def main() -> None:
    """Print the medians of the rounds, and the ratios of this service to each of the others."""
    content, bare = form(jpeg()), jpeg()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    with on_cores(SERVER_CORE):
        ours = start_server(quiet=True)
        others = {
            "LitServe, defaults": start(python("litserve_app", "default", "whole")),
            "LitServe, tuned": start(python("litserve_app", "tuned", "whole")),
            "BentoML, defaults": start(bentoml("Default")),
            "BentoML, tuned": start(bentoml("Tuned")),
            "LitServe, tuned, mask alone": start(python("litserve_app", "tuned", "mask")),
            "BentoML, tuned, mask alone": start(bentoml("MaskAlone")),
            "FastAPI and torch, mask alone": start(python("torch_app")),
        }
        pipeline = BarePipeline(threads=1)
        whole = WholePipeline()(bare)
    with Image.open(io.BytesIO(pipeline(bare))) as mask:
        expected = np.asarray(mask)
    paths = {"this service, fp32": "/segment?format=mask&precision=fp32", "this service, as shipped": "/segment?format=mask"}
    asked = {name: (ours, path) for name, path in paths.items()} | {name: (one, "/segment") for name, one in others.items()}
    names = [*asked, "bare loop, fp32"]
    rates: dict[str, list[float]] = {name: [] for name in names}
    try:
        for name, (server, path) in asked.items():
            answer = httpx.post(server.url + path, content=content, headers={"Content-Type": kind}, timeout=60)
            with Image.open(io.BytesIO(answer.content)) as mask:
                agreed = float((np.asarray(mask) == expected).mean())
            assert agreed > LEAST_AGREED, f"{name} gives another mask: {agreed:.1%} of the pixels are alike"
            is_same = answer.content == whole
            assert is_same or "alone" in name or "as shipped" in name, f"{name} gives another answer"
        for number in range(ROUNDS + 1):
            measured: dict[str, float] = {}
            with on_cores(CLIENT_CORE):
                for name, (server, path) in asked.items():
                    answers = crowd(server, content, CLIENTS, ROUND_S, path, kind)
                    assert set(answers.statuses) == {200}, f"{name} answers {answers.statuses}"
                    measured[name] = answers.rate
            with on_cores(SERVER_CORE):
                measured["bare loop, fp32"] = rate(lambda: pipeline(bare), ROUND_S)
            for name, figure in measured.items():
                if number:  # the first round warms up
                    rates[name].append(figure)
    finally:
        for server in (ours, *others.values()):
            stop(server)
    print(f"{CLIENTS} clients, 480x360 JPEG as a form to PNG mask, each server on one core, {ROUNDS} rounds by turns:")
    for name in names:
        print(row(name, rates[name], "images/s"))
    for name, like, torch in (("this service, fp32", 1, 3), ("this service, as shipped", 1.7, 5)):
        for other in others:
            bar = f"bar: {torch}" if "torch" in other else "" if "alone" in other else f"bar: {like}"
            print(row(f"{name} / {other}", list(np.divide(rates[name], rates[other])), "times", bar))


if __name__ == "__main__":
    main()
