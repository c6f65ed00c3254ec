"""How fast one core multiplies, and what each engine makes of it with the same fp32 network: no engine is faster than that.

python -m tests.benchmarks.bench_ceiling
"""

import io
from functools import partial

import numpy as np
import torch
from PIL import Image

from service.pipeline import COUNTED_MEGAPIXELS
from tests.benchmarks.competitors.torch_app import TunedPipeline
from tests.benchmarks.load import SERVER_CORE, BarePipeline, jpeg, on_cores, rate
from tests.benchmarks.table import Row, Rows, run

ROUNDS, ROUND_S = 9, 2.0
SIDE = 2048  # of the matrices: large enough for the highest rate
GIGA = 1e9


def measure() -> Rows:
    """The medians of the rounds, and of their ratios."""
    torch.set_num_threads(1)
    with on_cores(SERVER_CORE):
        onnx, eager = BarePipeline(threads=1), TunedPipeline()
        pixels = onnx.pixels(Image.open(io.BytesIO(jpeg())))
        gmac = onnx.card.gmac / COUNTED_MEGAPIXELS * pixels.shape[1] * pixels.shape[2] / 1e6  # of one run
        left, right = (torch.rand(SIDE, SIDE) for _ in range(2))
        product, networks = list[float](), {"ONNX Runtime": list[float](), "torch eager": list[float]()}
        for _ in range(ROUNDS):
            product.append(rate(partial(torch.mm, left, right), ROUND_S) * SIDE**3 / GIGA)
            for engine, pipeline in zip(networks, (onnx, eager), strict=True):
                networks[engine].append(rate(partial(pipeline.run, pixels), ROUND_S) * gmac)
    unit = "10^9 multiplications and additions a second"
    yield Row.median(f"product of two float32 matrices of {SIDE} x {SIDE}, one core, {ROUNDS} rounds by turns", product, unit)
    for engine, figures in networks.items():
        yield Row.median(f"the default model's network alone, fp32, in {engine}", figures, unit)
        yield Row.median("... over that product", list(np.divide(figures, product)))
    yield Row.median("3 times torch eager over that product", list(3 * np.divide(networks["torch eager"], product)))


if __name__ == "__main__":
    run(measure)
