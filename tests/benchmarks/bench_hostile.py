"""200 malformed, truncated or oversized bodies: what each is answered, and how fast the service is before and after.

python -m tests.benchmarks.bench_hostile
"""

import collections
import statistics

import httpx
import numpy as np

from tests.benchmarks.load import jpeg, milliseconds, resident
from tests.benchmarks.table import Row, Rows, run
from tests.service.pictures import huge_png
from tests.service_process import start_server

BODIES, GOOD, SEED = 200, 50, 20261122
MAX_UPLOAD_BYTES = 1_000_000  # a setting of this run, so that oversized bodies need not be 32 MB


def hostile_bodies(sound: bytes) -> list[bytes]:
    """A seeded mixture: cut short, of random bytes, empty, of another kind, too long, with too many pixels."""
    random = np.random.default_rng(SEED)
    kinds = (
        lambda: sound[: int(random.integers(1, len(sound) * 9 // 10))],
        lambda: random.bytes(int(random.integers(1, 5000))),
        lambda: sound[:2] + random.bytes(3000),
        lambda: b"\x89PNG\r\n\x1a\n" + random.bytes(3000),
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        lambda: b"",
        lambda: random.bytes(MAX_UPLOAD_BYTES + 1),
        huge_png,
    )
    return [kinds[number % len(kinds)]() for number in range(BODIES)]


def measure() -> Rows:
    """The answers by status, both medians, and how much memory a huge PNG took."""
    sound = jpeg()
    statuses: collections.Counter[tuple[int, str]] = collections.Counter()
    with (
        start_server(MAX_UPLOAD_BYTES=str(MAX_UPLOAD_BYTES)) as server,
        httpx.Client(base_url=server.url, timeout=60, headers={"Content-Type": "image/*"}) as client,
    ):

        def good() -> float:
            times = [milliseconds(lambda: client.post("/segment", content=sound).raise_for_status()) for _ in range(GOOD)]
            return statistics.median(times)

        good()  # warms up
        before = good()
        level = resident(server.process.pid)
        client.post("/segment", content=huge_png())
        yield Row("memory rise at a PNG of 169 megapixels", resident(server.process.pid) - level, "MB", at_most=50)
        for body in hostile_bodies(sound):
            answer = client.post("/segment", content=body)
            statuses[answer.status_code, answer.headers["content-type"]] += 1
        after = good()
    for (status, kind), count in sorted(statuses.items()):
        yield Row(f"hostile bodies answered {status} {kind}", count, f"of {BODIES}")
    note = f"{after:.1f} and {before:.1f} ms, medians of {GOOD}"
    yield Row("time of a good photo, after them / before", after / before, note=note)


if __name__ == "__main__":
    run(measure)
