"""What a service costs while nobody asks: processor time over SECONDS, with its watch and its watchdog on.

python -m tests.benchmarks.bench_idle
"""

import time

import httpx
import psutil

from tests.benchmarks.load import jpeg
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import start_server

SECONDS = 150  # long enough for two trials of the watchdog


def measure() -> Rows:
    """The share of one core."""
    with start_server() as server:
        httpx.post(server.url + "/segment", content=jpeg(), headers={"Content-Type": "image/jpeg"}).raise_for_status()
        process = psutil.Process(server.process.pid)
        before = process.cpu_times()
        time.sleep(SECONDS)
        after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    yield Row(f"processor time of {SECONDS} s without requests, after one", 100 * used / SECONDS, "% of a core", at_most=1)


if __name__ == "__main__":
    run(measure)
