"""int8 and fp16 against fp32 on this processor, by turns, one thread and all; and which one answers by itself.

python -m tests.benchmarks.bench_variants
"""

import io
from functools import partial

import numpy as np
from PIL import Image

from service.inference.device import usable_cpus
from service.inference.repository import Repository
from service.inference.variants import multiplies_bytes
from tests.benchmarks.load import BarePipeline, jpeg, rate, row
from tests.service_process import MODELS

ROUNDS, ROUND_S = 7, 2.0
MODEL = "animals-fcn8s-lite0"


def main() -> None:
    """Print the medians of the rounds' ratios."""
    image = Image.open(io.BytesIO(jpeg()))
    automatic = Repository(MODELS, "cpu").served(MODEL).automatic
    print(f"{MODEL}, 480x360; answers by itself here: {automatic} (bytes are multiplied fast: {multiplies_bytes()})")
    for threads in sorted({1, usable_cpus()}):
        pipelines = {
            precision: BarePipeline(MODELS / file, threads)
            for precision, file in (("fp32", f"{MODEL}.onnx"), ("int8", f"{MODEL}.int8.onnx"), ("fp16", f"{MODEL}.fp16.onnx"))
        }
        pixels = pipelines["fp32"].pixels(image)
        rates: dict[str, list[float]] = {precision: [] for precision in pipelines}
        for _ in range(ROUNDS):
            for precision, pipeline in pipelines.items():
                rates[precision].append(rate(partial(pipeline.run, pixels), ROUND_S))
        for precision in ("int8", "fp16"):
            bar = "bar with VNNI: at least 1.8" if precision == "int8" else ""
            print(row(f"{precision} / fp32, {threads} threads", list(np.divide(rates[precision], rates["fp32"])), "times", bar))


if __name__ == "__main__":
    main()
