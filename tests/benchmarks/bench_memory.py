"""Memory of the service over 2,000 requests of four clients: long side 32 to 3,000 px, four formats, a third in tiles; seeded.

python -m tests.benchmarks.bench_memory
"""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx
import numpy as np
import psutil

from tests.benchmarks.load import MEGABYTE, peak_rss
from tests.photos import photo
from tests.service_process import start_server, stop_server

REQUESTS, CLIENTS, SEED, BLOCK = 2000, 4, 20261122, 200
PATHS = ("/segment", "/segment?format=mask&resolution=native", "/segment?format=overlay")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")


def requests() -> Iterator[bytes]:
    """A seeded mixture of sizes, shapes and formats, cut from one photo."""
    random = np.random.default_rng(SEED)
    astronaut = photo("astronaut.png")
    for _ in range(REQUESTS):
        long_side = round(np.exp(random.uniform(np.log(32), np.log(3000))))
        size = [long_side, max(1, round(long_side * random.uniform(0.3, 1)))]
        random.shuffle(size)
        buffer = io.BytesIO()
        astronaut.resize((size[0], size[1])).save(buffer, FORMATS[random.integers(len(FORMATS))])
        yield buffer.getvalue()


def main() -> None:
    """Print the peak, and the level of each block of requests."""
    server = start_server(quiet=True)
    process = psutil.Process(server.process.pid)
    start = process.memory_info().rss / MEGABYTE
    levels: list[float] = []
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(CLIENTS) as pool:

            def ask(number: int, file: bytes) -> None:
                path = PATHS[number % len(PATHS)]
                client.post(path, content=file, headers={"Content-Type": "image/*"}).raise_for_status()
                levels.append(process.memory_info().rss / MEGABYTE)

            files = enumerate(requests())
            while batch := list(islice(files, CLIENTS)):
                list(pool.map(ask, *zip(*batch, strict=True)))
        peak = peak_rss(server.process.pid)
    finally:
        stop_server(server)
    half = levels[REQUESTS // 2 :]
    slope, error = slope_of(half)
    print(f"{REQUESTS} requests, {CLIENTS} clients, resident memory of the service:")
    print(f"  after start      {start:7.1f} MB")
    print(f"  peak             {peak:7.1f} MB")
    for first in range(0, REQUESTS, BLOCK):
        block = levels[first : first + BLOCK]
        print(f"  requests {first + 1:4}-{first + BLOCK:4} median {np.median(block):7.1f} MB, highest {max(block):7.1f} MB")
    print(f"  slope of the second half: {1000 * slope:+.2f} MB per 1,000 requests, standard error {1000 * error:.2f}")
    print(f"  bar: indistinguishable from 0 (within two standard errors): {abs(slope) <= 2 * error}")


def slope_of(levels: list[float]) -> tuple[float, float]:
    """MB a request and its standard error, by least squares over means of blocks: neighbours are not independent."""
    means = np.array(levels).reshape(-1, BLOCK // 4).mean(1)
    places = (np.arange(len(means)) + 0.5) * (BLOCK // 4)
    (slope, _), covariance = np.polyfit(places, means, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


if __name__ == "__main__":
    main()
