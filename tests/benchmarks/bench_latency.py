"""One client, 480x360 JPEG to PNG mask, on all cores, against the bare pipeline on its best number of threads; by turns.

python -m tests.benchmarks.bench_latency
"""

import http.client
import statistics
from functools import partial

import numpy as np

from service.process import usable_cpus
from tests.benchmarks.load import BarePipeline, jpeg, milliseconds
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import start_server

PAIRS, WARM_UP = 200, 20


def best_pipeline(content: bytes) -> tuple[int, BarePipeline]:
    """The number of threads with which the bare pipeline is fastest, and that pipeline."""
    pipelines = {threads: BarePipeline(threads=threads) for threads in range(1, usable_cpus() + 1)}

    def median(threads: int) -> float:
        return statistics.median(milliseconds(partial(pipelines[threads], content)) for _ in range(WARM_UP))

    best = min(pipelines, key=median)
    return best, pipelines[best]


def measure() -> Rows:
    """Both medians and their ratio."""
    content = jpeg()
    threads, pipeline = best_pipeline(content)
    bare: list[float] = []
    service: list[float] = []
    with start_server() as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)

        def ask() -> None:
            connection.request("POST", "/segment?format=mask&precision=fp32", content, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200

        for number in range(WARM_UP + PAIRS):
            pair = milliseconds(lambda: pipeline(content)), milliseconds(ask)
            if number >= WARM_UP:
                bare.append(pair[0])
                service.append(pair[1])
    yield Row.median(f"bare loop, 480x360 JPEG to mask, fp32, {threads} threads", bare, "ms")
    yield Row.median(f"one client's request for it, {PAIRS} pairs by turns", service, "ms")
    yield Row("request / bare loop, of the medians", statistics.median(service) / statistics.median(bare), at_most=1.20)
    yield Row.median("... of each pair", list(np.divide(service, bare)))


if __name__ == "__main__":
    run(measure)
