"""Everything that is claimed of CUDA, checked and printed in one run, on a machine with a GPU and the `gpu` extra.

make .venv/gpu,test.installed && .venv/bin/python -m tests.benchmarks.check_gpu

`--device cpu` runs the same program where there is no GPU, to find its own mistakes: it checks nothing of CUDA.
"""

import argparse
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import numpy as np
import onnxruntime as ort

from service.contract import INPUT_NAME, OUTPUT_NAME
from service.geometry import label_map
from service.inference.files.model_file import ModelFile
from service.inference.sessions.batching import SIZES
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import CUDA, create_session, cuda_options, reported_device
from service.inference.sessions.pinned import page_locked
from service.inference.sessions.runner import Runner
from service.settings import Device
from tests import photos
from tests.bands import joined, loaded
from tests.benchmarks.bench_large_images import large_photo
from tests.benchmarks.bench_scheduling import batch_rates, batch_rows, sizes_that_pay
from tests.benchmarks.check_gpu_faults import FILE, PATIENCE_S, check_lost_context, check_out_of_memory
from tests.benchmarks.load import DEFAULT_MODEL, MEGABYTE, crowd, jpeg, milliseconds, rate, resident
from tests.benchmarks.table import CannotRun
from tests.service_process import start_server

NEAR_TIE = 1e-3
BATCH_S = 0.2  # for each measurement of a batch
ODD_SIZES = 60
CROWD_S = 5.0
BATCHED, BINDING_ROUNDS = SIZES[-1], 5


def nvidia_smi(field: str) -> str:
    """What the first GPU's driver says."""
    query = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def gpu_memory(device: Device) -> str:
    """GPU memory in use by all processes."""
    if device == "cpu":
        return "(skipped on the CPU: it has no GPU's memory)"
    return f"{float(nvidia_smi('memory.used')) * 2**20 / MEGABYTE:.0f} MB"


def check_device(device: Device) -> str:
    session = create_session(DEFAULT_MODEL.read_bytes(), device)
    assert reported_device(session) == device
    told = session.get_provider_options().get(CUDA, {})
    assert device == "cpu" or told.items() >= cuda_options("fp32").items(), told
    return f"onnxruntime {ort.__version__}, providers {session.get_providers()}, {told}"


def check_missing_library(device: Device) -> str:
    """Without its libraries, `cuda` must not start and must name what is missing: in a process that preloads nothing."""
    if device == "cpu":
        raise CannotRun("the libraries are CUDA's")
    program = (
        "import onnxruntime as ort; ort.preload_dlls = lambda *a, **k: None\n"
        "from service.inference.sessions.device import create_session\n"
        f"create_session(open({str(DEFAULT_MODEL)!r}, 'rb').read(), 'cuda')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode, "it started: its libraries are in the system's path, where this cannot be checked"
    last = ended.stderr.strip().splitlines()[-1]
    assert ".so" in last, last
    return last


def check_parity(device: Device) -> str:
    image = photos.photo("coffee.png").resize((1190, 870))
    models = loaded(DEFAULT_MODEL), loaded(DEFAULT_MODEL, device), loaded(FILE["cuda"], device)
    scores = [joined(model.scores(image, Cancellation())) for model in models]
    on_cpu, single, half = (label_map(found, image.size, image.size, 8) for found in scores)
    same, same_half = (single == on_cpu).mean(), (half == on_cpu).mean()
    assert same >= 0.99999, same
    assert same_half >= 0.99, same_half
    difference = np.abs(scores[1] - scores[0]).max()
    return f"labels as on the CPU: fp32 {same:.4%}, fp16 {same_half:.4%}; fp32 scores differ by {difference:.2g}"


def check_tiles(device: Device) -> str:
    model, image = loaded(DEFAULT_MODEL, device), photos.photo("coffee.png").resize((2048, 1536))
    whole, _ = model.run(np.asarray(image)[None], Cancellation())
    scores = model.scores(image, Cancellation(), small_tiles=True)
    assert scores.schedule == "tiled"
    tiled = joined(scores)
    differs = tiled.argmax(0) != whole.argmax(0)
    margin = np.diff(np.sort(whole, 0)[-2:], axis=0)[0]
    assert differs.mean() <= 1e-5 and (margin[differs] < NEAR_TIE).all()
    return f"{differs.sum()} of {differs.size} scores' labels differ from the whole image's"


def check_pinned(device: Device) -> str:
    """Runs between page-locked buffers: what they gain over ONNX Runtime's own way, by turns."""
    file = ModelFile.read(FILE[device])
    session = create_session(file.content(), device, precision=file.card.precision)
    bound, images = Runner(session, file.interface, file.card), [np.zeros((1, 352, 480, 3), np.uint8)] * BATCHED
    calls = (
        lambda: bound(images, Cancellation(), BATCHED),
        lambda: session.run([OUTPUT_NAME], {INPUT_NAME: np.concatenate(images)})[0],
    )
    found, expected = (call() for call in calls)
    assert np.array_equal(found, expected)
    rates = np.array([[rate(call, BATCH_S) for call in calls] for _ in range(BINDING_ROUNDS)])
    assert device == "cpu" or page_locked(1).base is not None, "CUDA gave no page-locked memory"
    ratio, images_per_s = np.median(rates[:, 0] / rates[:, 1]), BATCHED * np.median(rates[:, 0])
    return f"batches of {BATCHED}, 480x352: bound over not bound {ratio:.2f} times, {images_per_s:.0f} images/s"


def check_batches(device: Device) -> str:
    """Images of one shape share a run on a GPU alone, since there they gain by it: at each of the SIZES."""
    lines = []
    for precision, file in (("fp32", DEFAULT_MODEL), ("fp16", DEFAULT_MODEL.with_suffix(".fp16.onnx"))):
        rates = batch_rates(file, device, BATCH_S)
        lines += [row.markdown("bench_scheduling") for row in batch_rows(precision, rates)]
        pay = sizes_that_pay(rates)
        assert device == "cpu" or set(SIZES) <= set(pay), f"of batches, those of {pay} pay:\n" + "\n".join(lines)
    return "\n".join(lines)


def check_plans(device: Device) -> str:
    """A shape that the model was prepared for is run at once, whatever was run before; another one waits for its plans once."""
    model, start = loaded(FILE[device], device), time.perf_counter()
    model.warm_up()
    prepared_s = time.perf_counter() - start
    most, stride = model.card.long_side, model.card.stride
    assert most is not None

    def run(width: int, height: int) -> float:
        image = np.zeros((1, height, width, 3), np.uint8)
        return milliseconds(lambda: model.run(image, Cancellation()))

    prepared = [(most, most), (most, most * 3 // 4), (most * 3 // 4, most)]
    others = [(most - number * stride, most // 2) for number in range(1, 5)]
    session, [(width, height), *_] = create_session(FILE[device].read_bytes(), device, precision=model.card.precision), others
    turns = [np.zeros((1, *size, 3), np.uint8) for size in ((height, width), (height, height))] * 4
    rows = {
        "shapes that were prepared, by turns": [run(*size) for size in prepared * 5],
        "others, the first time": [run(*size) for size in others],
        "... again, by turns": [run(*size) for size in others * 3],
        "two shapes by turns in one session, as ONNX Runtime does it": [
            milliseconds(lambda image=image: session.run([OUTPUT_NAME], {INPUT_NAME: image}))  # type: ignore[misc]
            for image in turns
        ],
    }
    lines = [f"{name}: {np.median(times):.1f} ms ({min(times):.1f} to {max(times):.1f})" for name, times in rows.items()]
    prepared_ms, first_ms, again_ms, _ = (float(np.median(times)) for times in rows.values())
    assert device == "cpu" or max(prepared_ms, again_ms) < first_ms / 10, lines
    lines.append(f"the default model was prepared in {prepared_s:.1f} s")
    return "\n".join(lines)


def check_service(device: Device) -> str:
    """The whole service: device in the answer, throughput by clients, and memory that stays."""
    start = time.perf_counter()
    with start_server(DEVICE=device, patience=PATIENCE_S) as server:
        lines = [f"all shipped models, process start to ready: {time.perf_counter() - start:.1f} s"]
        content = jpeg()
        answer = httpx.post(server.url + "/segment", content=content, headers={"Content-Type": "image/jpeg"}).json()
        assert answer["model"]["device"] == device
        assert device == "cpu" or answer["model"]["precision"] == "fp16"
        lines.append(f"{answer['model']}")
        for clients in (1, 16, 64):
            crowd(server, content, clients, CROWD_S / 5, "/segment?format=mask")
            found = crowd(server, content, clients, CROWD_S, "/segment?format=mask")
            late = ", ".join(f"p{percent} {found.percentile(percent):.1f} ms" for percent in (50, 99))
            lines.append(f"{clients} clients: {found.rate:.0f} images/s, {late}")
            assert set(found.statuses) == {200}, found.statuses
        before = gpu_memory(device)
        random, start = np.random.default_rng(0), time.perf_counter()
        for _ in range(ODD_SIZES):
            buffer = io.BytesIO()
            width, height = random.integers(32, 1500, 2)
            photos.photo("coffee.png").resize((int(width), int(height))).save(buffer, "JPEG")
            httpx.post(server.url + "/segment", content=buffer.getvalue(), timeout=60).raise_for_status()
        lines.append(f"GPU memory before and after {ODD_SIZES} odd sizes: {before} and {gpu_memory(device)}")
        lines.append(f"... in {time.perf_counter() - start:.1f} s; resident memory {resident(server.process.pid):.0f} MB")
        start = time.perf_counter()
        httpx.post(server.url + "/segment?resolution=native&format=mask", content=large_photo(), timeout=600).raise_for_status()
        lines.append(f"50 megapixels, native: {time.perf_counter() - start:.1f} s, GPU memory {gpu_memory(device)}")
    return "\n".join(lines)


CHECKS: tuple[Callable[[Device], str], ...] = (
    check_device,
    check_missing_library,
    check_parity,
    check_tiles,
    check_pinned,
    check_batches,
    check_plans,
    check_service,
    check_lost_context,
    check_out_of_memory,
)


def main() -> int:
    """Print what each check found; the exit status is the number that failed."""
    parser = argparse.ArgumentParser(description="Check and print everything that is claimed of CUDA.")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run, which checks nothing of CUDA"
    )
    device: Device = parser.parse_args().device
    if device == "cpu":
        print("DRY RUN ON THE CPU: this is no check of a GPU; it only shows that the program itself runs.", flush=True)
    else:
        print(
            f"on {nvidia_smi('name')}, driver {nvidia_smi('driver_version')}, files {FILE[device].name} and others", flush=True
        )
    failed = 0
    for check in CHECKS:
        name, start = check.__name__.removeprefix("check_"), time.perf_counter()
        try:
            verdict, found = "ok", check(device)
        except CannotRun as error:
            verdict, found = "skipped", f"on the CPU: {error}"
        except Exception as error:  # the others are still of use
            failed += 1
            verdict, found = "FAILED", f"{type(error).__name__}: {error}"
        print(f"{verdict:<8}{name} ({time.perf_counter() - start:.0f} s)", flush=True)
        print("\n".join(f"        {line}" for line in found.splitlines()), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
