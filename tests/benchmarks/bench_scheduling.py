"""Why one request has all cores, and several at once have one each: the two ways to use the cores, by turns.

python -m tests.benchmarks.bench_scheduling
"""

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from PIL import Image

from service.inference.device import usable_cpus
from tests.benchmarks.load import BarePipeline, jpeg, rate, row
from tests.service_process import MODELS

ROUNDS, ROUND_S = 7, 3.0
FILES = ("animals-fcn8s-lite0.onnx", "animals-fcn8s-lite0.int8.onnx")


def main() -> None:
    """Print, for each file, images a second one after the other on all cores, and side by side on one core each."""
    cores = usable_cpus()
    image = Image.open(io.BytesIO(jpeg()))
    for file in FILES:
        wide, narrow = BarePipeline(MODELS / file, threads=cores), BarePipeline(MODELS / file, threads=1)
        pixels = wide.pixels(image)
        in_turn: list[float] = []
        beside: list[float] = []
        one: list[float] = []
        with ThreadPoolExecutor(cores) as pool:
            for _ in range(ROUNDS):
                in_turn.append(rate(partial(wide.run, pixels), ROUND_S))
                one.append(rate(partial(narrow.run, pixels), ROUND_S))
                sides = [pool.submit(rate, partial(narrow.run, pixels), ROUND_S) for _ in range(cores)]
                beside.append(sum(side.result() for side in sides))
        print(f"{file}, 480x360, {cores} cores, {ROUNDS} rounds by turns:")
        print(row("one after the other, each on all cores", in_turn, "images/s"))
        print(row("side by side, each on one core", beside, "images/s"))
        print(row("gain of side by side under load", list(np.divide(beside, in_turn)), "times"))
        print(row("gain of all cores for one alone", list(np.divide(in_turn, one)), "times"))


if __name__ == "__main__":
    main()
