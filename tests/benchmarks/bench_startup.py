"""From process start to ready, with one model in its three variants, and with all that are shipped.

python -m tests.benchmarks.bench_startup
"""

import time
from pathlib import Path

from tests.benchmarks.load import one_model
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import MODELS, start_server

STARTS = 7


def seconds_to_ready(models: Path) -> list[float]:
    """Of several warm starts."""
    times = []
    for _ in range(STARTS + 1):
        start = time.perf_counter()
        with start_server(MODELS_DIR=str(models)):
            times.append(time.perf_counter() - start)
    return times[1:]  # the first one fills the disk's cache


def measure() -> Rows:
    """The medians."""
    with one_model() as folder:
        yield Row.median(f"process start to ready, one model, {STARTS} warm starts", seconds_to_ready(folder), "s", at_most=1.5)
    yield Row.median("... all that are shipped", seconds_to_ready(MODELS), "s")


if __name__ == "__main__":
    run(measure)
