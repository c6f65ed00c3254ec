"""One client, 480x360 JPEG to PNG mask, on all cores, against the bare pipeline on its best number of threads; by turns.

python -m tests.benchmarks.bench_latency
"""

import http.client
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from service.inference.device import usable_cpus
from tests.benchmarks.load import BarePipeline, jpeg
from tests.service_process import start_server, stop_server

PAIRS, WARM_UP = 200, 20


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def best_pipeline(content: bytes) -> tuple[int, BarePipeline]:
    """The number of threads with which the bare pipeline is fastest, and that pipeline."""
    pipelines = {threads: BarePipeline(threads=threads) for threads in range(1, usable_cpus() + 1)}

    def median(threads: int) -> float:
        return statistics.median(milliseconds(partial(pipelines[threads], content)) for _ in range(WARM_UP))

    best = min(pipelines, key=median)
    return best, pipelines[best]


def main() -> None:
    """Print both medians and their ratio."""
    content = jpeg()
    threads, pipeline = best_pipeline(content)
    bare: list[float] = []
    service: list[float] = []
    server = start_server(quiet=True)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)

    def ask() -> None:
        connection.request("POST", "/segment?format=mask&precision=fp32", content, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200

    try:
        for number in range(WARM_UP + PAIRS):
            pair = milliseconds(lambda: pipeline(content)), milliseconds(ask)
            if number >= WARM_UP:
                bare.append(pair[0])
                service.append(pair[1])
    finally:
        stop_server(server)
    print(f"one client, 480x360 JPEG to mask, fp32, {PAIRS} pairs by turns, medians:")
    print(f"  bare pipeline, {threads} threads {statistics.median(bare):7.1f} ms")
    print(f"  POST /segment            {statistics.median(service):7.1f} ms")
    print(f"  ratio                    {statistics.median(service) / statistics.median(bare):7.2f}  (bar: at most 1.20)")
    print(f"  median of ratios         {statistics.median(np.divide(service, bare)):7.2f}")


if __name__ == "__main__":
    main()
