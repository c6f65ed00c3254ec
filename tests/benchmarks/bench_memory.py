"""Memory of the service over 2,000 requests of four clients: long side 32 to 3,000 px, four formats, a third in tiles; seeded.

Every 50 requests have the same mixture, so that a level that follows from the mixture alone does not look like growth.

python -m tests.benchmarks.bench_memory
"""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx
import numpy as np

from tests.benchmarks.load import growth, peak_rss, resident
from tests.benchmarks.table import Row, Rows, run
from tests.photos import photo
from tests.service_process import start_server

REQUESTS, CLIENTS, SEED = 2000, 4, 20261122
NOISE = 20  # megabytes per 1,000 requests: a run that takes more for noise does not show that there is no growth
MIXTURE, BLOCK = 50, 200  # requests of one mixture; requests of which one level is printed
PATHS = ("/segment", "/segment?format=mask&resolution=native", "/segment?format=overlay")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")


def requests() -> Iterator[tuple[str, bytes]]:
    """Paths and bodies: sizes, shapes, formats and answers, seeded; the images are made from one photo."""
    random = np.random.default_rng(SEED)
    astronaut = photo("astronaut.png")
    places = [place for _ in range(REQUESTS // MIXTURE) for place in random.permutation(MIXTURE)]
    for place in places:
        long_side = round(32 * (3000 / 32) ** ((place + random.uniform()) / MIXTURE))
        size = [long_side, max(1, round(long_side * random.uniform(0.3, 1)))]
        random.shuffle(size)
        buffer = io.BytesIO()
        astronaut.resize((size[0], size[1])).save(buffer, FORMATS[place % len(FORMATS)])
        yield PATHS[place % len(PATHS)], buffer.getvalue()


def measure() -> Rows:
    """The level at the start, of each block of requests and at most, and whether it still grows."""
    levels: list[float] = []
    with start_server() as server:
        yield Row("resident memory after start", resident(server.process.pid), "MB")
        with httpx.Client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(CLIENTS) as pool:

            def ask(path: str, file: bytes) -> None:
                client.post(path, content=file, headers={"Content-Type": "image/*"}).raise_for_status()
                levels.append(resident(server.process.pid))

            mixed = requests()
            while batch := list(islice(mixed, CLIENTS)):
                list(pool.map(ask, *zip(*batch, strict=True)))
        peak = peak_rss(server.process.pid)
    blocks = [levels[first : first + BLOCK] for first in range(0, REQUESTS, BLOCK)]
    medians, lowest = (" ".join(f"{level(block):.0f}" for block in blocks) for level in (np.median, min))
    yield Row(f"peak of {REQUESTS:,} requests, {CLIENTS} clients", peak, "MB", note=f"medians of each {BLOCK}: {medians}")
    slope, error = (1000 * figure for figure in growth(levels[REQUESTS // 2 :], MIXTURE))
    what = "growth in the second half, up or down, against two standard errors"
    note = f"{slope:+.2f} ± {error:.2f}; lowest levels, between large images: {lowest}"
    yield Row(what, abs(slope), "MB per 1,000 requests", at_most=min(2 * error, NOISE), note=note)


if __name__ == "__main__":
    run(measure)
