"""Three and ten times as much as the service can do, for a minute each: who is served, how late, and what it costs.

python -m tests.benchmarks.bench_overload
"""

import threading
from dataclasses import dataclass

import numpy as np
import psutil

from tests.benchmarks.load import MEGABYTE, Answers, crowd, jpeg, on_cores
from tests.service_process import Server, start_server, stop_server

SERVER_CORE, CLIENT_CORE = 0, 1
SECONDS, CAPACITY_S = 60.0, 15.0
CLIENTS = 100


@dataclass(frozen=True)
class Case:
    """What is sent, and to a service of which settings."""

    name: str
    size: tuple[int, int]
    deadline_s: float
    settings: dict[str, str]
    times: tuple[int, ...]  # the capacity


CASES = (
    # A small queue and deadline, so that both are reached within the minute: 24 images fit, the others are free again at once.
    Case("480x360", (480, 360), 2.0, {"DEADLINE_S": "2", "DEADLINE_S_PER_MEGAPIXEL": "0", "QUEUE_MEGAPIXELS": "4"}, (3, 10)),
    # As shipped; photos that weigh little, and take long to decode and to label at their own size.
    Case("4032x3024, as shipped", (4032, 3024), 30.0, {}, (3,)),
)


def overload(server: Server, content: bytes, requests_per_s: float) -> tuple[Answers, list[float]]:
    """What the crowd got, and the service's memory in megabytes, every half second."""
    process, done = psutil.Process(server.process.pid), threading.Event()
    memory: list[float] = []

    def watch() -> None:
        while not done.wait(0.5):
            memory.append(process.memory_info().rss / MEGABYTE)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answers = crowd(server, content, CLIENTS, SECONDS, requests_per_s=requests_per_s)
    done.set()
    watcher.join()
    return answers, memory


def main() -> None:
    """Print each case's capacity, then what is left of it under load."""
    for case in CASES:
        content = jpeg(*case.size)
        with on_cores(SERVER_CORE):
            server = start_server(quiet=True, patience=60, **case.settings)
        try:
            with on_cores(CLIENT_CORE):
                crowd(server, content, 4, 3)
                capacity = crowd(server, content, 8, CAPACITY_S).rate
                print(f"{case.name}: {capacity:.1f} images/s with 8 clients, {CAPACITY_S:g} s; deadline {case.deadline_s:g} s")
                for times in case.times:
                    report(server, content, capacity, times)
        finally:
            stop_server(server)


def report(server: Server, content: bytes, capacity: float, times: int) -> None:
    """Print what becomes of so many times the capacity."""
    answers, memory = overload(server, content, times * capacity)
    half = memory[len(memory) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)) / 2, half, 1)[0])
    print(f"{times} times the capacity, {answers.sent / SECONDS:.0f} requests/s sent, for {SECONDS:g} s:")
    print(f"  goodput                {answers.rate / capacity:7.2f} of capacity  (bar for 3x: at least 0.8)")
    late = ", ".join(f"p{percent} {answers.percentile(percent):.0f} ms" for percent in (50, 99))
    print(f"  latency of the served  {late}  (bar for p99: the deadline)")
    print(f"  answers by status      {dict(sorted(answers.statuses.items()))}  (bar: 200 and 429 alone)")
    print(f"  memory                 {memory[0]:7.0f} MB, {max(memory):.0f} at most, {slope:+.2f} MB/s at the end")


if __name__ == "__main__":
    main()
