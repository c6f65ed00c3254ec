"""A 50-megapixel photo at the model's resolution and at its own: peak memory, time, and the work of the tiles.

python -m tests.benchmarks.bench_large_images
"""

import io
import time

import httpx
from PIL import Image

from service.inference.layers import Layers
from service.inference.parts import cut
from service.inference.tiling import RUN_BYTES, operations
from tests import photos
from tests.benchmarks.load import peak_rss
from tests.service_process import MODELS, start_server, stop_server

WIDTH, HEIGHT = 8192, 6112
MODEL, STRIDE = "animals-fcn8s-lite0", 32
BARS = {"model": 600, "native": 1000}


def large_jpeg() -> bytes:
    """The coffee of scikit-image, enlarged."""
    buffer = io.BytesIO()
    photos.photo("coffee.png").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def main() -> None:
    """Print a line for each resolution and variant, each on a service of its own."""
    content = large_jpeg()
    print(f"{WIDTH}x{HEIGHT} JPEG, {len(content) / 1e6:.1f} MB, {MODEL}, a fresh service each:")
    for precision in ("fp32", "int8"):
        for resolution, bar in BARS.items():
            server = start_server(quiet=True)
            try:
                start = time.perf_counter()
                path = f"/segment?model={MODEL}&precision={precision}&resolution={resolution}&format=mask"
                answer = httpx.post(server.url + path, content=content, headers={"Content-Type": "image/jpeg"}, timeout=600)
                seconds = time.perf_counter() - start
                assert answer.status_code == 200, answer.text
                peak = peak_rss(server.process.pid)
            finally:
                stop_server(server)
            print(f"  {precision}, resolution={resolution:<7} peak {peak:6.0f} MB (bar: {bar})   {seconds:6.1f} s")
        suffix = "" if precision == "fp32" else f".{precision}"
        layers = Layers.of((MODELS / f"{MODEL}{suffix}.onnx").read_bytes(), "scores")
        work = operations(cut(layers, STRIDE, WIDTH * HEIGHT, RUN_BYTES), WIDTH, HEIGHT, STRIDE)
        print(f"  {precision}, native: {work:.2f} times the whole image's multiply-accumulates (bar: 4, aim: 2)")


if __name__ == "__main__":
    main()
