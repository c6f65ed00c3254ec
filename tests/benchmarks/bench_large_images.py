"""A 50-megapixel photo at the model's resolution and at its own: peak memory, time, the work of the tiles, and their labels.

python -m tests.benchmarks.bench_large_images
"""

import io
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from PIL import ExifTags, Image

from service.geometry import label_map, network_input
from service.inference.cancellation import Cancellation
from service.inference.device import create_session
from service.inference.model import Model
from service.inference.model_file import ModelFile
from tests import photos
from tests.bands import joined
from tests.benchmarks.load import peak_rss
from tests.service_process import MODELS, start_server, stop_server

WIDTH, HEIGHT = 8192, 6112
COMPARED = 2048, 1536  # (width, height) of a photo that fits a run as a whole as well
MODEL = "animals-fcn8s-lite0"
BARS = {"model": 600, "native": 1000}


def large_jpeg(orientation: int = 1) -> bytes:
    """The coffee of scikit-image, enlarged; stored in that EXIF orientation."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photos.photo("coffee.png").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def work(model: Model) -> float:
    """Multiply-accumulates of a tiled run as it is served, over those of the whole image."""
    return model.tiling.network(WIDTH, HEIGHT).work(WIDTH, HEIGHT)


def agreement(model: Model) -> float:
    """Share of the pixels of a photo whose labels are the same tile by tile and as a whole."""
    card, image = model.card, photos.photo("coffee.png").resize(COMPARED, Image.Resampling.BICUBIC)
    whole = model.run(network_input(image, image.size, card.stride, card.pad_value), Cancellation())
    tiled = joined(model.scores(image, Cancellation(), small=True))
    labels = [label_map(scores, image.size, image.size, card.output_stride) for scores in (whole, tiled)]
    return float(np.mean(labels[0] == labels[1]))


def measured(models: Path, path: str, photo: bytes) -> tuple[float, float]:
    """Peak memory in megabytes, and seconds, of one request to a fresh service."""
    server = start_server(quiet=True, MODELS_DIR=str(models))
    try:
        start = time.perf_counter()
        answer = httpx.post(server.url + path, content=photo, headers={"Content-Type": "image/jpeg"}, timeout=600)
        seconds = time.perf_counter() - start
        assert answer.status_code == 200, answer.text
        return peak_rss(server.process.pid), seconds
    finally:
        stop_server(server)


def main() -> None:
    """Print a line for each resolution, form and variant, each on a service of its own; then the tiles of every model."""
    content = large_jpeg()
    turned = large_jpeg(orientation=6)
    cases = [(precision, resolution, "mask", content) for precision in ("fp32", "int8") for resolution in BARS]
    cases += [("fp32", "model", "mask", turned), ("fp32", "model", "overlay", content), ("fp32", "native", "overlay", turned)]
    with tempfile.TemporaryDirectory() as folder:
        for file in MODELS.glob(f"{MODEL}*.onnx"):
            shutil.copy(file, folder)
        for name, models in (("one model", Path(folder)), ("all shipped models", MODELS)):
            print(f"{WIDTH}x{HEIGHT} JPEG, {len(content) / 1e6:.1f} MB, {MODEL}, a fresh service with {name}:")
            for precision, resolution, form, photo in cases:
                path = f"/segment?model={MODEL}&precision={precision}&resolution={resolution}&format={form}"
                peak, seconds = measured(models, path, photo)
                what = f"{precision}, {resolution}, {form}{', turned by EXIF' if photo is turned else ''}"
                bar = f"(bar: {BARS[resolution]})" if models != MODELS else ""
                print(f"  {what:<40} peak {peak:6.0f} MB {bar:<12} {seconds:6.1f} s")
    print(
        "tiles at native resolution: their work over the whole image's (bar: 4, aim: 2); the labels of a smaller photo that are"
    )
    print("the whole image's (fp32: at least 99.999 %)")
    for file in sorted(MODELS.rglob("*.onnx")):
        model = Model.load(ModelFile.read(file), file.read_bytes(), partial(create_session, device="cpu"))
        print(f"  {file.stem:<40} {work(model):.2f} {agreement(model):11.4%}")


if __name__ == "__main__":
    main()
