"""200 connections that stall in the middle of a head or a body: what the others notice of them, by turns.

python -m tests.benchmarks.bench_stalled
"""

import http.client
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.benchmarks.load import CLIENT_CORE, SERVER_CORE, crowd, jpeg, on_cores
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import Server, start_server

STALLED, CLIENTS, ROUNDS, ROUND_S = 200, 8, 7, 5.0
PROBES, PROBE_S = 40, 0.1  # spread over a round


def stall(server: Server) -> list[socket.socket]:
    """Half of them in the head, half in the body. The service cuts them off after ten seconds; a round is shorter."""
    host, port = server.url.removeprefix("http://").split(":")
    lines = []
    for number in range(STALLED):
        line = socket.create_connection((host, int(port)))
        head = b"POST /segment HTTP/1.1\r\nHost: test\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n"
        line.sendall(head if number % 2 else head + b"\r\n" + b"x" * 1000)
        lines.append(line)
    return lines


def livez(server: Server) -> list[float]:
    """Milliseconds of some probes. The first comes with the stalled requests, and waits until all of them have begun."""
    times = []
    for _ in range(PROBES):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        start = time.perf_counter()
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        times.append((time.perf_counter() - start) * 1000)
        connection.close()
        time.sleep(PROBE_S)
    return times


def measure() -> Rows:
    """Throughput with and without them, and how long /livez takes."""
    content = jpeg()
    with on_cores(SERVER_CORE):
        server = start_server()
    free: list[float] = []
    beside: list[float] = []
    probes: list[float] = []
    arriving: list[float] = []
    with server, on_cores(CLIENT_CORE):
        crowd(server, content, CLIENTS, ROUND_S)
        for _ in range(ROUNDS):
            free.append(crowd(server, content, CLIENTS, ROUND_S).rate)
            lines = stall(server)
            with ThreadPoolExecutor(1) as prober:  # while the others work
                probing = prober.submit(livez, server)
                beside.append(crowd(server, content, CLIENTS, ROUND_S).rate)
                first, *others = probing.result()
                arriving.append(first)
                probes += others
            for line in lines:
                line.close()
    yield Row.median(f"{CLIENTS} clients, 480x360 JPEG to mask, one core, {ROUNDS} rounds by turns", free, "images/s")
    yield Row.median(f"... beside {STALLED} stalled connections", beside, "images/s")
    yield Row.median("beside them / without them", list(np.divide(beside, free)), at_least=0.95)
    yield Row("slowest /livez beside them", max(probes), "ms", at_most=50, note=f"median {statistics.median(probes):.1f}")
    yield Row.median("/livez asked as they come, all at once", arriving, "ms")


if __name__ == "__main__":
    run(measure)
