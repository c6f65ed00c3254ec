"""What a service costs while nobody asks: processor time over a minute, with its watch and its watchdog on.

python -m tests.benchmarks.bench_idle
"""

import time

import httpx
import psutil

from tests.benchmarks.load import jpeg
from tests.service_process import start_server, stop_server

SECONDS = 150  # long enough for two trials of the watchdog


def main() -> None:
    """Print the share of one core."""
    server = start_server(quiet=True)
    try:
        httpx.post(server.url + "/segment", content=jpeg(), headers={"Content-Type": "image/jpeg"}).raise_for_status()
        process = psutil.Process(server.process.pid)
        before = process.cpu_times()
        time.sleep(SECONDS)
        after = process.cpu_times()
    finally:
        stop_server(server)
    used = after.user + after.system - before.user - before.system
    print(f"idle for {SECONDS} s after one request: {100 * used / SECONDS:.2f} % of a core  (bar: 1)")


if __name__ == "__main__":
    main()
