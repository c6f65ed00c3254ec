"""200 connections that stall in the middle of a head or a body: what the others notice of them, by turns.

python -m tests.benchmarks.bench_stalled
"""

import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.benchmarks.load import crowd, jpeg, on_cores, row
from tests.service_process import Server, start_server, stop_server

STALLED, CLIENTS, ROUNDS, ROUND_S = 200, 8, 7, 5.0
PROBES, PROBE_S = 40, 0.1  # spread over a round
SERVER_CORE, CLIENT_CORE = 0, 1


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


def main() -> None:
    """Print throughput with and without them, and how long /livez takes."""
    content = jpeg()
    with on_cores(SERVER_CORE):
        server = start_server(quiet=True)
    free: list[float] = []
    beside: list[float] = []
    probes: list[float] = []
    arriving: list[float] = []
    try:
        with on_cores(CLIENT_CORE):
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
    finally:
        stop_server(server)
    print(f"{STALLED} stalled connections, {CLIENTS} clients on 480x360 JPEG to mask, one core, {ROUNDS} rounds by turns:")
    print(row("throughput without them", free, "images/s"))
    print(row("throughput beside them", beside, "images/s"))
    print(row("ratio", list(np.divide(beside, free)), "", "bar: at least 0.95"))
    print(row("/livez beside them", probes, "ms", f"slowest {max(probes):.1f} (bar: 50)"))
    print(row("/livez asked as they come, all at once", arriving, "ms", "reported"))


if __name__ == "__main__":
    main()
