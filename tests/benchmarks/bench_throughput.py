"""16 clients, 480x360 JPEG to PNG mask, against the bare pipeline and the session alone, each on one core; rounds by turns.

python -m tests.benchmarks.bench_throughput
"""

import io

import numpy as np
from PIL import Image

from tests.benchmarks.load import BarePipeline, crowd, jpeg, on_cores, rate, row
from tests.service_process import start_server, stop_server

CLIENTS, ROUNDS, ROUND_S = 16, 7, 6.0
SERVER_CORE, CLIENT_CORE = 0, 1


def main() -> None:
    """Print the medians of the rounds, and of their ratios."""
    content = jpeg()
    with on_cores(SERVER_CORE):
        server = start_server(quiet=True)
        bare = BarePipeline(threads=1)
    pixels = bare.pixels(Image.open(io.BytesIO(content)))
    service: list[float] = []
    pipeline: list[float] = []
    session: list[float] = []
    try:
        for number in range(ROUNDS + 1):
            with on_cores(CLIENT_CORE):
                served = crowd(server, content, CLIENTS, ROUND_S).rate
            with on_cores(SERVER_CORE):
                bared = rate(lambda: bare(content), ROUND_S)
                alone = rate(lambda: bare.run(pixels), ROUND_S / 2)
            if number:  # the first round warms up
                service.append(served)
                pipeline.append(bared)
                session.append(alone)
    finally:
        stop_server(server)
    print(f"{CLIENTS} clients, 480x360 JPEG to mask, fp32, server on one core, clients on another, {ROUNDS} rounds by turns:")
    print(row("the service", service, "images/s"))
    print(row("decode, run, encode in a bare loop", pipeline, "images/s"))
    print(row("the session alone", session, "images/s"))
    print(row("service / bare loop", list(np.divide(service, pipeline)), "", "bar: at least 0.93"))
    print(row("service / session alone", list(np.divide(service, session)), "", "bar: at least 0.85"))


if __name__ == "__main__":
    main()
