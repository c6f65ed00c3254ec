"""The same requests against LitServe, BentoML, and FastAPI around torch, each server on one core, in several starts of all.

Like for like, LitServe and BentoML give the same answer, with the areas and confidence of each class in the mask's legend;
"mask alone" is less work than this service does. Torch has its bar with its defaults; tuned, it has this service's own labels.

make .venv-bench/installed && python -m tests.benchmarks.bench_others
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
from PIL import Image

from tests.benchmarks.load import CLIENT_CORE, SERVER_CORE, BarePipeline, WholePipeline, crowd, jpeg, on_cores, rate
from tests.benchmarks.table import CannotRun, Row, Rows, run
from tests.service_process import ROOT, Server, start_server

CLIENTS, ROUND_S, PATIENCE_S = 16, 6.0, 120.0
WARM_UP_S, TORCH_WARM_UP_S = 2.0, 6.0  # after 2 s torch is still a quarter faster than it will be
STARTS = 9  # of each server: two processes of one program differ by more than what is to be measured
PYTHON = ROOT / ".venv-bench/bin/python"  # of the others alone: the service runs as it is installed, with the same pins
APPS = "tests.benchmarks.competitors"
LITSERVE = ("-m", f"{APPS}.litserve_app", "{port}")
TORCH = ("-m", f"{APPS}.torch_app", "{port}")
BENTOML = ("-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}")
OURS = {"this service, fp32": "/segment?format=mask&precision=fp32", "this service, as shipped": "/segment?format=mask"}
OTHERS = {  # what Python is given to run, and the path that is answered when it is ready
    "LitServe, defaults": ((*LITSERVE, "default", "whole"), "/health"),
    "LitServe, tuned": ((*LITSERVE, "tuned", "whole"), "/health"),
    "BentoML, defaults": ((*BENTOML, f"{APPS}.bentoml_app:Default"), "/readyz"),
    "BentoML, tuned": ((*BENTOML, f"{APPS}.bentoml_app:Tuned"), "/readyz"),
    "LitServe, tuned, mask alone": ((*LITSERVE, "tuned", "mask"), "/health"),
    "BentoML, tuned, mask alone": ((*BENTOML, f"{APPS}.bentoml_app:MaskAlone"), "/readyz"),
    "FastAPI and torch, defaults, mask alone": ((*TORCH, "default"), "/docs"),
    "FastAPI and torch, tuned, mask alone": ((*TORCH, "tuned"), "/docs"),
}
BARE = "bare loop, fp32"
BOUNDARY = "benchmark"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
MIN_AGREEMENT = 0.98  # of the pixels: int8 and torch round otherwise


def form(content: bytes) -> bytes:
    """The image as the field `file` of a form, which all of them take."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextmanager
def running() -> Iterator[dict[str, tuple[Server, str]]]:
    """A fresh process of each server, by what is measured of it, with the path that it is asked."""
    with ExitStack() as servers:
        with on_cores(SERVER_CORE):
            ours = servers.enter_context(start_server())
            asked = {name: (ours, path) for name, path in OURS.items()}
            for other, (command, ready) in OTHERS.items():
                server = start_server(command=command, patience=PATIENCE_S, python=PYTHON, ready=ready)
                asked[other] = (servers.enter_context(server), "/segment")
        yield asked


def check(name: str, server: Server, path: str, content: bytes, mask: bytes, whole: bytes) -> None:
    """Assert that the server gives the mask, or the whole answer where that is what it is measured at."""
    answer = httpx.post(server.url + path, content=content, headers={"Content-Type": KIND}, timeout=60).content
    with Image.open(io.BytesIO(answer)) as given, Image.open(io.BytesIO(mask)) as expected:
        agreed = float((np.asarray(given) == np.asarray(expected)).mean())
    assert agreed > MIN_AGREEMENT, f"{name} gives another mask: {agreed:.1%} of the pixels are alike"
    assert answer == whole or "alone" in name or "as shipped" in name, f"{name} gives another answer"


def served(name: str, server: Server, path: str, content: bytes, seconds: float) -> float:
    """Images a second."""
    answers = crowd(server, content, CLIENTS, seconds, path, KIND)
    assert set(answers.statuses) == {200}, f"{name} answers {answers.statuses}"
    return answers.rate


def measure() -> Rows:
    """The medians of the starts, and the ratios of this service to each of the others."""
    if not PYTHON.exists():
        raise CannotRun("it needs `make .venv-bench/installed`")
    content, bare = form(jpeg()), jpeg()
    with on_cores(SERVER_CORE):
        pipeline, whole = BarePipeline(threads=1), WholePipeline()(bare)
        mask = pipeline(bare)
    rates: dict[str, list[float]] = {name: [] for name in (*OURS, *OTHERS, BARE)}
    for number in range(STARTS):
        with running() as asked:
            for name, (server, path) in asked.items():
                check(name, server, path, content, mask, whole)
            with on_cores(CLIENT_CORE):
                for name, (server, path) in list(asked.items())[:: 1 if number % 2 else -1]:
                    served(name, server, path, content, TORCH_WARM_UP_S if "torch" in name else WARM_UP_S)
                    rates[name].append(served(name, server, path, content, ROUND_S))
        with on_cores(SERVER_CORE):
            rates[BARE].append(rate(lambda: pipeline(bare), ROUND_S))
    what = f"{CLIENTS} clients, 480x360 JPEG as a form to PNG mask, one core for each server, {STARTS} starts of all"
    for name, figures in rates.items():
        yield Row.median(f"{what}: {name}", figures, "images/s")
        what = "..."
    for name, like, torch in zip(OURS, (1, 1.7), (3, 5), strict=True):
        for other in OTHERS:
            bar = torch if "torch, defaults" in other else None if "alone" in other else like
            yield Row.median(f"{name} / {other}", list(np.divide(rates[name], rates[other])), "times", at_least=bar)


if __name__ == "__main__":
    run(measure)
