"""A 50-megapixel photo at the model's resolution and at its own: peak memory, time, the work of the tiles, and their labels.

python -m tests.benchmarks.bench_large_images
"""

import io
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import ExifTags, Image

from service.geometry import label_map, network_input
from service.inference.models.model import Model
from service.inference.sessions.cancellation import Cancellation
from tests import photos
from tests.bands import joined, loaded, tiled_work
from tests.benchmarks.load import DEFAULT_MODEL, one_model, peak_rss
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import MODELS, start_server

WIDTH, HEIGHT = 8192, 6112
COMPARED = 2048, 1536  # (width, height) of a photo that fits a run as a whole as well
MODEL = DEFAULT_MODEL.stem
MAX_MB = {"model": 600, "native": 1000}  # of a service with one model


def large_photo(orientation: int = 1, form: str = "JPEG") -> bytes:
    """The coffee of scikit-image, enlarged; stored in that EXIF orientation."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photos.photo("coffee.png").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, form, quality=90, exif=exif)
    return buffer.getvalue()


def disagreement(model: Model) -> float:
    """Share of the pixels of a photo whose labels are not the same tile by tile and as a whole."""
    card, image = model.card, photos.photo("coffee.png").resize(COMPARED, Image.Resampling.BICUBIC)
    whole, _ = model.run(network_input(image, image.size, card.stride, card.pad_value), Cancellation())
    tiled = joined(model.scores(image, Cancellation(), small_tiles=True))
    labels = [label_map(scores, image.size, image.size, card.output_stride) for scores in (whole, tiled)]
    return float(np.mean(labels[0] != labels[1]))


def measured(models: Path, path: str, photo: bytes) -> tuple[float, float]:
    """Peak memory in megabytes, and seconds, of one request to a fresh service."""
    with start_server(MODELS_DIR=str(models)) as server:
        start = time.perf_counter()
        answer = httpx.post(server.url + path, content=photo, headers={"Content-Type": "application/octet-stream"}, timeout=600)
        seconds = time.perf_counter() - start
        assert answer.status_code == 200, answer.text
        return peak_rss(server.process.pid), seconds


def measure() -> Rows:
    """A row for each resolution, form and variant, each on a service of its own; then the tiles of every model."""
    content, turned, webp = large_photo(), large_photo(orientation=6), large_photo(form="WEBP")
    cases = [(precision, resolution, "mask", content) for precision in ("fp32", "int8") for resolution in MAX_MB]
    cases += [("fp32", "model", "mask", turned), ("fp32", "model", "overlay", content), ("fp32", "native", "overlay", turned)]
    cases.append(("fp32", "model", "mask", webp))
    with one_model() as folder:
        for name, models in (("one model", folder), ("all shipped models", MODELS)):
            for precision, resolution, form, photo in cases:
                path = f"/segment?model={MODEL}&precision={precision}&resolution={resolution}&format={form}"
                peak, seconds = measured(models, path, photo)
                what = f"peak of {WIDTH}x{HEIGHT}, {name}: {precision}, {resolution}, {form}"
                what += ", turned by EXIF" if photo is turned else ""
                what += ", as a WebP" if photo is webp else ""  # Pillow decodes it by way of three more copies
                bar = MAX_MB[resolution] if models == folder and photo is not webp else None
                yield Row(what, peak, "MB", at_most=bar, note=f"{seconds:.1f} s")
    for file in sorted(MODELS.rglob("*.onnx")):
        model = loaded(file)
        aim = "aim: 2" if file == DEFAULT_MODEL else ""
        work = tiled_work(model.tiling.network(WIDTH, HEIGHT), WIDTH, HEIGHT)  # as it is served
        yield Row(f"{file.stem}, native: work of the tiles over the whole image's", work, at_most=4, note=aim)
        most = 0.001 if model.card.precision == "fp32" else None
        what = f"... pixels of {COMPARED[0]}x{COMPARED[1]} with another label than as a whole"
        yield Row(what, 100 * disagreement(model), "%", at_most=most)


if __name__ == "__main__":
    run(measure)
