"""What the benchmarks share: pinned processes, the bare pipeline, clients, and measures of time and memory."""

import http.client
import io
import itertools
import math
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from service.geometry import label_map, network_input, upright_rgb, working_size
from service.imaging.decode import open_image
from service.imaging.encode import mask_png
from service.inference.models.repository import Repository
from service.inference.scheduling.workers import Ticket
from service.inference.sessions.device import create_session
from service.pipeline import Job, process
from service.settings import PILLOW_MAX_PIXELS
from tests import photos
from tests.benchmarks.table import CannotRun
from tests.service_process import MODELS, Server

DEFAULT_MODEL = MODELS / "animals-fcn8s-lite0.onnx"
MEGABYTE = 1e6
SERVER_CORE, CLIENT_CORE = 0, 1  # where a server and its clients must not share one


def jpeg(width: int = 480, height: int = 360) -> bytes:
    """The cat of scikit-image, cropped to 4:3, at that size."""
    buffer = io.BytesIO()
    cat = photos.photo("chelsea.png").crop((25, 0, 425, 300))
    cat.resize((width, height), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """This process, and those it starts meanwhile, on these cores only; all of them again afterwards."""
    process = psutil.Process()
    before = process.cpu_affinity()
    if not set(cores) <= set(before):
        raise CannotRun(f"it pins processes to core {', '.join(map(str, cores))}, and may use only {before}")
    process.cpu_affinity(list(cores))
    try:
        yield
    finally:
        process.cpu_affinity(before)


@contextmanager
def one_model(files: str = f"{DEFAULT_MODEL.stem}*.onnx") -> Iterator[Path]:
    """A folder with the default model alone, in its variants, or in those of the `files` that are named."""
    with tempfile.TemporaryDirectory() as folder:
        for file in MODELS.glob(files):
            shutil.copy(file, folder)
        yield Path(folder)


class BarePipeline:
    """Decode, run, label and encode, with nothing around: what a service can at best reach."""

    def __init__(self, path: Path = DEFAULT_MODEL, threads: int | None = None) -> None:
        self.session = create_session(path.read_bytes(), "cpu", threads)
        self.card = ModelCard.model_validate_json(self.session.get_modelmeta().custom_metadata_map[METADATA_KEY])

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The network's input."""
        size = working_size(*image.size, self.card.long_side)
        return network_input(image, size, self.card.stride, self.card.pad_value)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """The scores."""
        scores: np.ndarray = self.session.run([OUTPUT_NAME], {INPUT_NAME: pixels})[0][0]
        return scores

    def __call__(self, content: bytes) -> bytes:
        """JPEG to mask."""
        image, _ = upright_rgb(Image.open(io.BytesIO(content)))
        scores = self.run(self.pixels(image))
        size = working_size(*image.size, self.card.long_side)
        return mask_png(label_map(scores, size, image.size, self.card.output_stride), self.card.classes, "")


class WholePipeline:
    """The service's own steps for one request, areas and confidence included, with no HTTP and no queue around."""

    def __init__(self) -> None:
        self.variant = Repository(MODELS, "cpu").variant(DEFAULT_MODEL.stem, "fp32")

    def __call__(self, content: bytes) -> bytes:
        """JPEG to the answer's mask, its legend included."""
        job = Job(open_image(io.BytesIO(content), PILLOW_MAX_PIXELS), self.variant, "model", "mask", 0.5)
        ticket = Ticket(None, job.megapixels, 0, time.perf_counter(), math.inf)
        return process(job, ticket)[1].body


def rate(work: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    start, calls = time.perf_counter(), 0
    while (now := time.perf_counter()) < start + seconds:
        work()
        calls += 1
    return calls / (now - start)


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


@dataclass
class Answers:
    """What a crowd of clients got."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds, of answers 200
    in_time: list[float] = field(default_factory=list)  # seconds from the start, at which the answers 200 before the end came

    @property
    def sent(self) -> int:
        """Requests that were answered, one way or another."""
        return sum(self.statuses.values())

    @property
    def rate(self) -> float:
        """Answers 200 a second, from the first to the last: outside, time goes into requests whose answers do not count."""
        return (len(self.in_time) - 1) / (max(self.in_time) - min(self.in_time)) if len(self.in_time) > 1 else 0.0

    def percentile(self, percent: float) -> float:
        """Latency in milliseconds."""
        return float(np.percentile(self.latencies, percent)) * 1000 if self.latencies else float("nan")


def crowd(
    server: Server,
    content: bytes,
    clients: int,
    seconds: float,
    path: str = "/segment?format=mask&precision=fp32",
    content_type: str = "image/jpeg",
    requests_per_s: float | None = None,
) -> Answers:
    """So many clients, each sending its next request when it has its answer; or all together at a steady rate."""
    answers, lock = Answers(), threading.Lock()
    begin = time.perf_counter()
    end, turns = begin + seconds, itertools.count()

    def client() -> None:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=120)
        while time.perf_counter() < end:
            if requests_per_s is not None:
                time.sleep(max(0.0, begin + next(turns) / requests_per_s - time.perf_counter()))
            start = time.perf_counter()
            try:
                connection.request("POST", path, content, {"Content-Type": content_type})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            now = time.perf_counter()
            with lock:
                answers.statuses[status] += 1
                if status == 200:
                    answers.latencies.append(now - start)
                    if now <= end:
                        answers.in_time.append(now - begin)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        end = begin  # after Ctrl-C the clients stop as well
    return answers


def resident(pid: int) -> float:
    """Resident memory at this moment, in megabytes."""
    return float(psutil.Process(pid).memory_info().rss) / MEGABYTE


def peak_rss(pid: int) -> float:
    """Highest resident memory since the start, by the kernel's own account (VmHWM), in megabytes."""
    with Path(f"/proc/{pid}/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / MEGABYTE


def growth(levels: Sequence[float], block: int) -> tuple[float, float]:
    """By how much a level rises from one measurement to the next, and the standard error of that.

    By least squares over means of blocks, since neighbours are not independent; what fills no block is left out at the start.
    """
    means = np.array(levels[len(levels) % block :]).reshape(-1, block).mean(1)
    (slope, _), covariance = np.polyfit((np.arange(len(means)) + 0.5) * block, means, 1, cov=True)
    return float(slope), max(float(np.sqrt(covariance[0, 0])), 1e-9)  # of a constant level only rounding is left
