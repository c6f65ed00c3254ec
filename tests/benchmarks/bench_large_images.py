"""A 50-megapixel photo at the model's resolution and at its own: peak memory, time, and the work of the tiles.

python -m tests.benchmarks.bench_large_images
"""

import io
import time
from functools import partial
from pathlib import Path

import httpx
from PIL import ExifTags, Image

from service.inference.device import create_session
from service.inference.model_file import ModelFile
from service.inference.tiling import Tiling, operations
from tests import photos
from tests.benchmarks.load import peak_rss
from tests.service_process import MODELS, start_server, stop_server

WIDTH, HEIGHT = 8192, 6112
MODEL = "animals-fcn8s-lite0"
BARS = {"model": 600, "native": 1000}


def large_jpeg(orientation: int = 1) -> bytes:
    """The coffee of scikit-image, enlarged; stored in that EXIF orientation."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photos.photo("coffee.png").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


def work(path: Path) -> float:
    """Multiply-accumulates of a tiled run as it is served, over those of the whole image."""
    file = ModelFile.read(path)
    network = Tiling(path.read_bytes(), file.card, partial(create_session, device="cpu"), "cpu").network(WIDTH, HEIGHT)
    return operations([part for part, _ in network.parts], WIDTH, HEIGHT, file.card.stride)


def main() -> None:
    """Print a line for each resolution, form and variant, each on a service of its own; then the work of every model."""
    content = large_jpeg()
    turned = large_jpeg(orientation=6)
    cases = [(precision, resolution, "mask", content) for precision in ("fp32", "int8") for resolution in BARS]
    cases += [("fp32", "model", "mask", turned), ("fp32", "model", "overlay", content), ("fp32", "native", "overlay", turned)]
    print(f"{WIDTH}x{HEIGHT} JPEG, {len(content) / 1e6:.1f} MB, {MODEL}, a fresh service with all shipped models each:")
    for precision, resolution, form, photo in cases:
        server = start_server(quiet=True)
        try:
            start = time.perf_counter()
            path = f"/segment?model={MODEL}&precision={precision}&resolution={resolution}&format={form}"
            answer = httpx.post(server.url + path, content=photo, headers={"Content-Type": "image/jpeg"}, timeout=600)
            seconds = time.perf_counter() - start
            assert answer.status_code == 200, answer.text
            peak = peak_rss(server.process.pid)
        finally:
            stop_server(server)
        what = f"{precision}, {resolution}, {form}{', turned by EXIF' if photo is turned else ''}"
        print(f"  {what:<40} peak {peak:6.0f} MB (bar: {BARS[resolution]})   {seconds:6.1f} s")
    print("work of the tiles at native resolution, over the whole image's (bar: 4, aim: 2):")
    for file in sorted(MODELS.rglob("*.onnx")):
        print(f"  {file.stem:<40} {work(file):.2f}")


if __name__ == "__main__":
    main()
