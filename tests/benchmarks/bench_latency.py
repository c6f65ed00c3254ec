"""A 500x375 JPEG to JSON, one client, against the bare session run of the same input: interleaved, medians.

python -m tests.benchmarks.bench_latency
"""

import io
import statistics
import time
from collections.abc import Callable

import httpx
import numpy as np
from PIL import Image

from service.contract import INPUT_NAME, OUTPUT_NAME
from service.geometry import network_input, working_size
from service.inference.model import Model
from service.inference.model_file import ModelFile
from tests import photos
from tests.service_process import MODELS, start_server, stop_server

PAIRS, WARM_UP = 200, 20
DEFAULT_MODEL = MODELS / "animals-fcn8s-lite0.onnx"


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def photo() -> Image.Image:
    """The cat of scikit-image, cropped to 4:3 and resized to 500x375."""
    return photos.photo("chelsea.png").crop((25, 0, 425, 300)).resize((500, 375), Image.Resampling.LANCZOS)


def main() -> None:
    """Print both medians and their ratio."""
    image = photo()
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=90)
    model = Model.load(ModelFile.read(DEFAULT_MODEL), "cpu")
    pixels = network_input(image, working_size(*image.size, model.card.long_side), model.card.stride, model.card.pad_value)
    session: list[float] = []
    service: list[float] = []
    server = start_server(quiet=True)
    try:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            for number in range(WARM_UP + PAIRS):
                bare = milliseconds(lambda: model.session.run([OUTPUT_NAME], {INPUT_NAME: pixels}))
                whole = milliseconds(lambda: client.post("/segment", files={"file": jpeg.getvalue()}).raise_for_status())
                if number >= WARM_UP:
                    session.append(bare)
                    service.append(whole)
            steps = client.post("/segment", files={"file": jpeg.getvalue()}).json()["timings_ms"]
    finally:
        stop_server(server)
    print(f"one client, 500x375 JPEG to JSON, {PAIRS} interleaved pairs, medians:")
    print(f"  bare session run    {statistics.median(session):7.1f} ms")
    print(f"  POST /segment       {statistics.median(service):7.1f} ms")
    print(f"  ratio               {statistics.median(service) / statistics.median(session):7.2f}  (bar: 1.5)")
    print(f"  median of ratios    {statistics.median(np.divide(service, session)):7.2f}")
    print(f"  steps of one answer {steps}")


if __name__ == "__main__":
    main()
