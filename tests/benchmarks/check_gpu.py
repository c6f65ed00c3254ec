"""Everything that is claimed of CUDA, checked and printed in one run, on a machine with a GPU and the `gpu` extra.

make .venv/gpu,test.installed RUNTIME=gpu && .venv/bin/python -m tests.benchmarks.check_gpu
"""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import httpx
import numpy as np
import onnxruntime as ort
import pytest

from service.geometry import label_map
from service.inference.cancellation import Cancellation, OutOfDeviceMemory
from service.inference.device import create_session, reported_device
from service.inference.model import Model
from service.inference.model_file import ModelFile
from service.settings import Device
from tests import photos
from tests.benchmarks.bench_large_images import large_jpeg
from tests.benchmarks.load import MEGABYTE, crowd, jpeg
from tests.service_process import MODELS, start_server, stop_server

NAME = "animals-fcn8s-lite0"
NEAR_TIE = 1e-3


def gpu_memory() -> float:
    """Megabytes of the GPU in use, by nvidia-smi."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]) * 2**20 / MEGABYTE


def model(device: Device, suffix: str = "") -> Model:
    """The default model, or a variant of it."""
    file = ModelFile.read(MODELS / f"{NAME}{suffix}.onnx")
    return Model.load(file, file.content(), partial(create_session, device=device))


def check_device() -> str:
    session = create_session((MODELS / f"{NAME}.onnx").read_bytes(), "cuda")
    assert reported_device(session) == "cuda"
    return f"onnxruntime {ort.__version__}, providers {session.get_providers()}"


def check_missing_library() -> str:
    """Without its libraries, `cuda` must not start and must name what is missing: in a process that preloads nothing."""
    program = (
        "import onnxruntime as ort; ort.preload_dlls = lambda *a, **k: None\n"
        "from service.inference.device import create_session\n"
        f"create_session(open('models/{NAME}.onnx', 'rb').read(), 'cuda')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode, "it started: its libraries are in the system's path, where this cannot be checked"
    last = ended.stderr.strip().splitlines()[-1]
    assert ".so" in last, last
    return last


def check_parity() -> str:
    image = photos.photo("coffee.png").resize((1190, 870))
    scores = {}
    for label, one in (("cpu", model("cpu")), ("cuda", model("cuda")), ("cuda fp16", model("cuda", ".fp16"))):
        scores[label] = np.concatenate(list(one.scores(image, Cancellation()).bands), axis=1)
    labels = {label: label_map(found, image.size, image.size, 8) for label, found in scores.items()}
    same = (labels["cuda"] == labels["cpu"]).mean()
    assert same >= 0.99999
    half = (labels["cuda fp16"] == labels["cpu"]).mean()
    difference = np.abs(scores["cuda"] - scores["cpu"]).max()
    return f"labels as on the CPU: fp32 {same:.4%}, fp16 {half:.4%}; scores differ by {difference:.2g}"


def check_tiles() -> str:
    one, image = model("cuda"), photos.photo("coffee.png").resize((2048, 1536))
    whole = one.run(np.asarray(image)[None], Cancellation())
    scores = one.scores(image, Cancellation(), small=True)
    assert scores.schedule == "tiled"
    tiled = np.concatenate(list(scores.bands), axis=1)
    differs = tiled.argmax(0) != whole.argmax(0)
    margin = np.diff(np.sort(whole, 0)[-2:], axis=0)[0]
    assert differs.mean() <= 1e-5 and (margin[differs] < NEAR_TIE).all()
    return f"{differs.sum()} of {differs.size} scores' labels differ from the whole image's"


def check_out_of_memory() -> str:
    """Sessions with too little room for an image take it in small tiles."""
    file, image = ModelFile.read(MODELS / f"{NAME}.onnx"), photos.photo("coffee.png").resize((2048, 1536))
    limit = 300 << 20
    limited = Model.load(file, file.content(), partial(create_session, device="cuda", gpu_memory_bytes=limit))
    expected = np.concatenate(list(model("cuda").scores(image, Cancellation()).bands), axis=1)
    with pytest.raises(OutOfDeviceMemory):
        limited.scores(image, Cancellation())
    limited.give_back()
    found = np.concatenate(list(limited.scores(image, Cancellation(), small=True).bands), axis=1)
    assert (found.argmax(0) == expected.argmax(0)).mean() > 0.9999
    return "2048x1536 within 300 MiB a session: the same labels"


def check_service() -> str:
    """The whole service: device in the answer, throughput by clients, and memory that stays."""
    server = start_server(quiet=True, DEVICE="cuda", patience=300)
    try:
        content = jpeg()
        answer = httpx.post(server.url + "/segment", content=content, headers={"Content-Type": "image/jpeg"}).json()
        assert answer["model"]["device"] == "cuda" and answer["model"]["precision"] == "fp16"
        lines = [f"{answer['model']}"]
        for clients in (1, 16, 64):
            crowd(server, content, clients, 2, "/segment?format=mask")
            found = crowd(server, content, clients, 8, "/segment?format=mask")
            late = ", ".join(f"p{percent} {found.percentile(percent):.1f} ms" for percent in (50, 99))
            lines.append(f"{clients} clients: {found.rate:.0f} images/s, {late}")
        before = gpu_memory()
        random = np.random.default_rng(0)
        for _ in range(200):
            buffer = io.BytesIO()
            photos.photo("coffee.png").resize(tuple(random.integers(32, 1500, 2))).save(buffer, "JPEG")
            httpx.post(server.url + "/segment", content=buffer.getvalue(), timeout=60).raise_for_status()
        lines.append(f"GPU memory before and after 200 odd sizes: {before:.0f} and {gpu_memory():.0f} MB")
        start = time.perf_counter()
        httpx.post(server.url + "/segment?resolution=native&format=mask", content=large_jpeg(), timeout=600).raise_for_status()
        lines.append(f"50 megapixels, native: {time.perf_counter() - start:.1f} s, GPU memory {gpu_memory():.0f} MB")
    finally:
        stop_server(server)
    return "; ".join(lines)


CHECKS: tuple[Callable[[], str], ...] = (
    check_device,
    check_missing_library,
    check_parity,
    check_tiles,
    check_out_of_memory,
    check_service,
)


def main() -> int:
    """Print a line for each check; the exit status is the number that failed."""
    failed = 0
    for check in CHECKS:
        try:
            print(f"ok      {check.__name__.removeprefix('check_')}: {check()}", flush=True)
        except Exception as error:  # the others are still of use
            failed += 1
            print(f"FAILED  {check.__name__.removeprefix('check_')}: {type(error).__name__}: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
