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

CLIENTS, ROUNDS, TURNS, TURN_S = 16, 9, 4, 1.5


def measure() -> Rows:
    """The medians of all turns, and of their ratios.

    Each round has processes and sessions of its own: where their memory happens to lie makes some per cent of difference.
    Within a round the sides take short turns, since the machine's speed changes within seconds.
    """
    content = jpeg()
    turns: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        with on_cores(SERVER_CORE):
            server = start_server()
        with server:
            with on_cores(SERVER_CORE):
                bare = BarePipeline(threads=1)
            pixels = bare.pixels(Image.open(io.BytesIO(content)))
            for turn in range(1 + TURNS):
                with on_cores(CLIENT_CORE):
                    served = crowd(server, content, CLIENTS, TURN_S).rate
                with on_cores(SERVER_CORE):
                    rates = served, rate(partial(bare, content), TURN_S), rate(partial(bare.run, pixels), TURN_S)
                if turn > 0:  # the first is a warm-up
                    turns.append(rates)
    service, pipeline, session = np.transpose(turns)
    what = f"{CLIENTS} clients, 480x360 JPEG to mask, fp32, server on one core, clients on another, {len(turns)} turns of each"
    yield Row.median(what, list(service), "images/s")
    yield Row.median("decode, run, encode in a bare loop", list(pipeline), "images/s")
    yield Row.median("the session alone", list(session), "images/s")
    yield Row.median("service / bare loop", list(service / pipeline), at_least=0.93)
    yield Row.median("service / session alone", list(service / session), at_least=0.85)


if __name__ == "__main__":
    run(measure)
