"""From process start to ready, with the shipped models.

python -m tests.benchmarks.bench_startup
"""

import statistics
import time

from tests.service_process import start_server, stop_server

STARTS = 7


def main() -> None:
    """Print the median of several warm starts."""
    times = []
    for _ in range(STARTS + 1):
        start = time.perf_counter()
        server = start_server(quiet=True)
        times.append(time.perf_counter() - start)
        stop_server(server)
    warm = times[1:]  # the first one fills the disk's cache
    print(f"process start to ready, {STARTS} warm starts:")
    print(f"  median {statistics.median(warm):.2f} s, slowest {max(warm):.2f} s  (bar: 3)")


if __name__ == "__main__":
    main()
