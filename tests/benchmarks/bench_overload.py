"""Three and ten times as much as the service can do, for a minute each: who is served, how late, and what it costs.

python -m tests.benchmarks.bench_overload
"""

import threading
from dataclasses import dataclass

from tests.benchmarks.load import CLIENT_CORE, SERVER_CORE, Answers, crowd, growth, jpeg, on_cores, resident
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import Server, start_server

SECONDS, CAPACITY_S = 60.0, 15.0
CLIENTS = 100
WATCH_S, BLOCK = 0.5, 5  # of memory
FLAT, NOISE = 0.01, 0.05  # shares of the memory: less growth is none; a run whose noise hides more than that shows nothing


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
    done = threading.Event()
    memory: list[float] = []

    def watch() -> None:
        while not done.wait(WATCH_S):
            memory.append(resident(server.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answers = crowd(server, content, CLIENTS, SECONDS, requests_per_s=requests_per_s)
    finally:
        done.set()
        watcher.join()
    return answers, memory


def measure() -> Rows:
    """Each case's capacity, then what is left of it under load."""
    for case in CASES:
        content = jpeg(*case.size)
        with on_cores(SERVER_CORE):
            server = start_server(patience=60, **case.settings)
        with server, on_cores(CLIENT_CORE):
            crowd(server, content, 4, 3)
            capacity = crowd(server, content, 8, CAPACITY_S).rate
            yield Row(f"{case.name}: capacity, 8 clients for {CAPACITY_S:g} s", capacity, "images/s")
            for times in case.times:
                yield from loaded(server, content, capacity, times, case)


def loaded(server: Server, content: bytes, capacity: float, times: int, case: Case) -> Rows:
    """What becomes of so many times the capacity."""
    answers, memory = overload(server, content, times * capacity)

    def bar(value: float) -> float | None:
        return value if times == 3 else None  # of more it is only reported

    what = f"{case.name}, {times} times that for {SECONDS:g} s"
    sent = f"{answers.sent / SECONDS:.1f} requests/s, {answers.sent / SECONDS / capacity:.2g} times the capacity, were sent"
    yield Row(f"{what}: goodput / capacity", answers.rate / capacity, at_least=bar(0.8), note=sent)
    p50, p99 = (answers.percentile(percent) / 1000 for percent in (50, 99))
    yield Row("... p99 of the served, against the deadline", p99, "s", at_most=bar(case.deadline_s), note=f"p50 {p50:.3g} s")
    others = answers.sent - answers.statuses[200] - answers.statuses[429]
    by_status = f"by status: {dict(sorted(answers.statuses.items()))}"
    yield Row("... answers but 200 and 429", others, at_most=bar(0), note=by_status)
    half = memory[len(memory) // 2 :]
    rise, error = (figure * len(half) for figure in growth(half, BLOCK))
    note = f"{rise:+.2f} ± {error:.2f}; {memory[0]:.0f} MB at first, {max(memory):.0f} at most"
    what = f"... growth of memory in the second half, against two standard errors or {FLAT:.0%} of it"
    yield Row(what, rise, "MB", at_most=bar(min(max(2 * error, FLAT * half[0]), NOISE * half[0])), note=note)


if __name__ == "__main__":
    run(measure)
