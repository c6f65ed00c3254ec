"""The same requests against LitServe, BentoML, and FastAPI around torch, each server on one core; rounds by turns.

Like for like, LitServe and BentoML give the same answer, with the areas and confidence of each class in the mask's legend;
"mask alone" is less work than this service does.

make .venv-bench/installed && python -m tests.benchmarks.bench_others
"""

import io
from contextlib import ExitStack

import httpx
import numpy as np
from PIL import Image

from tests.benchmarks.load import CLIENT_CORE, SERVER_CORE, BarePipeline, WholePipeline, crowd, jpeg, on_cores, rate
from tests.benchmarks.table import CannotRun, Row, Rows, run
from tests.service_process import ROOT, Server, start_server

CLIENTS, ROUNDS, ROUND_S, PATIENCE_S = 16, 5, 6.0, 120.0
PYTHON = ROOT / ".venv-bench/bin/python"  # of the others alone: the service runs as it is installed, with the same pins
APPS = "tests.benchmarks.competitors"
LITSERVE = ("-m", f"{APPS}.litserve_app", "{port}")
BENTOML = ("-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}")
OTHERS = {  # what Python is given to run, and the path that is answered when it is ready
    "LitServe, defaults": ((*LITSERVE, "default", "whole"), "/health"),
    "LitServe, tuned": ((*LITSERVE, "tuned", "whole"), "/health"),
    "BentoML, defaults": ((*BENTOML, f"{APPS}.bentoml_app:Default"), "/readyz"),
    "BentoML, tuned": ((*BENTOML, f"{APPS}.bentoml_app:Tuned"), "/readyz"),
    "LitServe, tuned, mask alone": ((*LITSERVE, "tuned", "mask"), "/health"),
    "BentoML, tuned, mask alone": ((*BENTOML, f"{APPS}.bentoml_app:MaskAlone"), "/readyz"),
    "FastAPI and torch, mask alone": (("-m", f"{APPS}.torch_app", "{port}"), "/docs"),
}
BOUNDARY = "benchmark"
LEAST_AGREED = 0.98  # of the pixels: int8 and torch round otherwise


def form(content: bytes) -> bytes:
    """The image as the field `file` of a form, which all of them take."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def measure() -> Rows:
    """The medians of the rounds, and the ratios of this service to each of the others."""
    if not PYTHON.exists():
        raise CannotRun("it needs `make .venv-bench/installed`")
    content, bare = form(jpeg()), jpeg()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    with ExitStack() as servers:
        with on_cores(SERVER_CORE):
            ours = servers.enter_context(start_server())
            others: dict[str, Server] = {}
            for other, (command, ready) in OTHERS.items():
                server = start_server(command=command, patience=PATIENCE_S, python=PYTHON, ready=ready)
                others[other] = servers.enter_context(server)
            pipeline = BarePipeline(threads=1)
            whole = WholePipeline()(bare)
        with Image.open(io.BytesIO(pipeline(bare))) as mask:
            expected = np.asarray(mask)
        paths = {
            "this service, fp32": "/segment?format=mask&precision=fp32",
            "this service, as shipped": "/segment?format=mask",
        }
        asked = {name: (ours, path) for name, path in paths.items()} | {name: (one, "/segment") for name, one in others.items()}
        rates: dict[str, list[float]] = {name: [] for name in (*asked, "bare loop, fp32")}
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
    what = f"{CLIENTS} clients, 480x360 JPEG as a form to PNG mask, each server on one core, {ROUNDS} rounds by turns"
    for name, figures in rates.items():
        yield Row.median(f"{what}: {name}", figures, "images/s")
        what = "..."
    for name, like, torch in (("this service, fp32", 1, 3), ("this service, as shipped", 1.7, 5)):
        for other in others:
            bar = torch if "torch" in other else None if "alone" in other else like
            yield Row.median(f"{name} / {other}", list(np.divide(rates[name], rates[other])), "times", at_least=bar)


if __name__ == "__main__":
    run(measure)
