"""Why few requests have all cores, and many have one each: both ways to use the cores, by turns, for more and more at once.

python -m tests.benchmarks.bench_scheduling
"""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from PIL import Image

from service.inference.device import usable_cpus
from tests.benchmarks.load import BarePipeline, jpeg, rate, row
from tests.service_process import MODELS

ROUNDS, ROUND_S = 7, 3.0
FILES = ("animals-fcn8s-lite0.onnx", "animals-fcn8s-lite0.int8.onnx")


def doublings(most: int) -> Iterator[int]:
    """1, 2, 4, ..., and the most."""
    number = 1
    while number < most:
        yield number
        number *= 2
    yield most


def rate_together(work: Callable[[], object], callers: int) -> float:
    """Calls a second, of so many threads together."""
    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(lambda _: rate(work, ROUND_S), range(callers)))


def main() -> None:
    """Print, for each file and number of requests at once, images a second on all cores and on one core each."""
    cores = usable_cpus()
    image = Image.open(io.BytesIO(jpeg()))
    for file in FILES:
        wide, narrow = BarePipeline(MODELS / file, threads=cores), BarePipeline(MODELS / file, threads=1)
        pixels = wide.pixels(image)
        print(f"{file}, 480x360, {cores} cores, {ROUNDS} rounds by turns:")
        for callers in doublings(cores):
            on_all: list[float] = []
            on_one: list[float] = []
            for _ in range(ROUNDS):
                on_all.append(rate_together(partial(wide.run, pixels), callers))
                on_one.append(rate_together(partial(narrow.run, pixels), callers))
            print(row(f"{callers} at once, all cores", on_all, "images/s"))
            print(row(f"{callers} at once, one core each", on_one, "images/s"))
            print(row(f"{callers} at once, one core each / all cores", list(np.divide(on_one, on_all)), "times"))


if __name__ == "__main__":
    main()
