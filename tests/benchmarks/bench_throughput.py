"""16 clients, 480x360 JPEG to PNG mask, against the bare pipeline and the session alone, each on one core; rounds by turns.

python -m tests.benchmarks.bench_throughput
"""

import io
from functools import partial

import numpy as np
from PIL import Image

from tests.benchmarks.load import BarePipeline, crowd, jpeg, on_cores, rate, row
from tests.service_process import start_server, stop_server

CLIENTS, ROUNDS, ROUND_S, WARM_UP_S = 16, 9, 6.0, 1.0
SERVER_CORE, CLIENT_CORE = 0, 1


def main() -> None:
    """Print the medians of the rounds, and of their ratios.

    Each round has processes and sessions of its own: where their memory happens to lie makes some per cent of difference.
    """
    content = jpeg()
    service: list[float] = []
    pipeline: list[float] = []
    session: list[float] = []
    for _ in range(ROUNDS):
        with on_cores(SERVER_CORE):
            server = start_server(quiet=True)
            bare = BarePipeline(threads=1)
        pixels = bare.pixels(Image.open(io.BytesIO(content)))
        try:
            with on_cores(CLIENT_CORE):
                crowd(server, content, CLIENTS, WARM_UP_S)
                service.append(crowd(server, content, CLIENTS, ROUND_S).rate)
            with on_cores(SERVER_CORE):
                rate(partial(bare, content), WARM_UP_S)
                pipeline.append(rate(partial(bare, content), ROUND_S))
                session.append(rate(partial(bare.run, pixels), ROUND_S / 2))
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
