"""16 clients, 480x360 JPEG to PNG mask, against the bare pipeline and the session alone, each on one core; rounds by turns.

python -m tests.benchmarks.bench_throughput
"""

import io
from functools import partial

import numpy as np
from PIL import Image

from tests.benchmarks.load import CLIENT_CORE, SERVER_CORE, BarePipeline, crowd, jpeg, on_cores, rate
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import start_server

CLIENTS, ROUNDS, ROUND_S, WARM_UP_S = 16, 9, 6.0, 1.0


def measure() -> Rows:
    """The medians of the rounds, and of their ratios.

    Each round has processes and sessions of its own: where their memory happens to lie makes some per cent of difference.
    """
    content = jpeg()
    service: list[float] = []
    pipeline: list[float] = []
    session: list[float] = []
    for _ in range(ROUNDS):
        with on_cores(SERVER_CORE):
            server = start_server()
        with server:
            with on_cores(SERVER_CORE):
                bare = BarePipeline(threads=1)
            pixels = bare.pixels(Image.open(io.BytesIO(content)))
            with on_cores(CLIENT_CORE):
                crowd(server, content, CLIENTS, WARM_UP_S)
                service.append(crowd(server, content, CLIENTS, ROUND_S).rate)
            with on_cores(SERVER_CORE):
                rate(partial(bare, content), WARM_UP_S)
                pipeline.append(rate(partial(bare, content), ROUND_S))
                session.append(rate(partial(bare.run, pixels), ROUND_S / 2))
    what = f"{CLIENTS} clients, 480x360 JPEG to mask, fp32, server on one core, clients on another, {ROUNDS} rounds by turns"
    yield Row.median(what, service, "images/s")
    yield Row.median("decode, run, encode in a bare loop", pipeline, "images/s")
    yield Row.median("the session alone", session, "images/s")
    yield Row.median("service / bare loop", list(np.divide(service, pipeline)), at_least=0.93)
    yield Row.median("service / session alone", list(np.divide(service, session)), at_least=0.85)


if __name__ == "__main__":
    run(measure)
