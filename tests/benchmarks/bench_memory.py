"""Memory of the service over 500 requests: long side 64 to 2,000 px, four formats, seeded.

python -m tests.benchmarks.bench_memory
"""

import io
from pathlib import Path

import httpx
import numpy as np
import psutil

from tests.photos import photo
from tests.service_process import start_server, stop_server

REQUESTS, SEED = 500, 20261122
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
MEGABYTE = 1e6


def requests() -> list[bytes]:
    """A seeded mixture of sizes, shapes and formats, cut from one photo."""
    random = np.random.default_rng(SEED)
    astronaut = photo("astronaut.png")
    files = []
    for _ in range(REQUESTS):
        long_side = round(np.exp(random.uniform(np.log(64), np.log(2000))))
        size = [long_side, max(1, round(long_side * random.uniform(0.3, 1)))]
        random.shuffle(size)
        buffer = io.BytesIO()
        astronaut.resize((size[0], size[1])).save(buffer, FORMATS[random.integers(len(FORMATS))])
        files.append(buffer.getvalue())
    return files


def main() -> None:
    """Print the peak, and the level of each hundred requests."""
    server = start_server(quiet=True)
    process = psutil.Process(server.process.pid)
    start = process.memory_info().rss / MEGABYTE
    levels: list[float] = []
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for number, file in enumerate(requests()):
                path = ("/segment", "/segment?format=mask", "/segment?format=overlay")[number % 3]
                client.post(path, content=file, headers={"Content-Type": "image/*"}).raise_for_status()
                levels.append(process.memory_info().rss / MEGABYTE)
        peak = _peak_rss(server.process.pid)
    finally:
        stop_server(server)
    print(f"{REQUESTS} requests, one client, resident memory of the service:")
    print(f"  after start      {start:7.1f} MB")
    print(f"  peak             {peak:7.1f} MB  (bar: 400)")
    for first in range(0, REQUESTS, 100):
        block = levels[first : first + 100]
        print(f"  requests {first + 1:3}-{first + 100:3} median {np.median(block):7.1f} MB, highest {max(block):7.1f} MB")
    print("  bar: the last hundred no higher than the second")


def _peak_rss(pid: int) -> float:
    """Highest resident memory since the start, by the kernel's own account (VmHWM), in megabytes."""
    with Path(f"/proc/{pid}/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / MEGABYTE


if __name__ == "__main__":
    main()
