"""Two rules of the service: who has how many cores, and that images share a run on a GPU, and not on the CPU.

Measures images per second with all cores for each request and with one core for each, by turns, for more and more requests
at once: few requests are given all cores, and many one core each. Then the gain of each batch size: one pays if it carries a
tenth more images per second than the one before. On the CPU none does; `check_gpu` compares those of a GPU.

python -m tests.benchmarks.bench_scheduling
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from service.contract import INPUT_NAME, OUTPUT_NAME
from service.inference.files.model_file import ModelFile
from service.inference.sessions.device import create_session
from service.process import usable_cpus
from service.settings import Device
from tests.benchmarks.load import BarePipeline, jpeg, rate
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import MODELS

ROUNDS, ROUND_S = 7, 3.0
FILES = ("animals-fcn8s-lite0", "animals-fcn8s-lite0.int8")
BATCHES = (1, 2, 4, 8)
BATCHED = 480, 352  # (width, height) of their images
PAYS = 1.1  # times the images a second of the size before


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


def batch_rates(file: Path, device: Device, seconds: float = ROUND_S) -> dict[int, list[float]]:
    """Images a second of a session on that device, by the size of the batches that it runs one after another."""
    session = create_session(file.read_bytes(), device, precision=ModelFile.read(file).card.precision)
    image = np.asarray(Image.open(io.BytesIO(jpeg())).resize(BATCHED))
    rates: dict[int, list[float]] = {size: [] for size in BATCHES}
    works = {size: partial(session.run, [OUTPUT_NAME], {INPUT_NAME: np.stack([image] * size)}) for size in BATCHES}
    for _ in range(ROUNDS):
        for size, work in works.items():
            work()  # the first run of a shape after another is CUDA's preparation for it
            rates[size].append(size * rate(work, seconds))
    return rates


def batch_rows(title: str, rates: Mapping[int, Sequence[float]]) -> Rows:
    """What they say, and how many sizes pay."""
    for size, values in rates.items():
        yield Row.median(f"{title}, batches of {size}", values, "images/s")
    for size, values in rates.items():
        yield Row.median(f"{title}, batches of {size} / of 1", list(np.divide(values, rates[1])), "times")
    yield Row(f"{title}, largest batch that pays", sizes_that_pay(rates)[-1], "images")


def sizes_that_pay(rates: Mapping[int, Sequence[float]]) -> tuple[int, ...]:
    """From 1 on, as long as each carries PAYS times what the one before does."""
    sizes = [1]
    for size in BATCHES[1:]:
        if np.median(np.divide(rates[size], rates[sizes[-1]])) < PAYS:
            break
        sizes.append(size)
    return tuple(sizes)


def measure() -> Rows:
    """For each file, images a second by the number of requests at once, then by the size of batches."""
    cores = usable_cpus()
    image = Image.open(io.BytesIO(jpeg()))
    for name in FILES:
        file = MODELS / f"{name}.onnx"
        wide, narrow = BarePipeline(file, threads=cores), BarePipeline(file, threads=1)
        pixels = wide.pixels(image)
        for callers in doublings(cores):
            on_all: list[float] = []
            on_one: list[float] = []
            for _ in range(ROUNDS):
                on_all.append(rate_together(partial(wide.run, pixels), callers))
                on_one.append(rate_together(partial(narrow.run, pixels), callers))
            what = f"{name}, {callers} at once"
            yield Row.median(f"{what}, all {cores} cores", on_all, "images/s")
            yield Row.median(f"{what}, one core each", on_one, "images/s")
            yield Row.median(f"{what}, one core each / all cores", list(np.divide(on_one, on_all)), "times")
        yield from batch_rows(name, batch_rates(file, "cpu"))


if __name__ == "__main__":
    run(measure)
