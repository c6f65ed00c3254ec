"""int8 and fp16 against fp32 on this processor, by turns, one thread and all; and which one answers by itself.

python -m tests.benchmarks.bench_variants
"""

import io
from functools import partial

import numpy as np
from PIL import Image

from service.inference.models.preference import has_int8_dot_product
from service.inference.models.repository import Repository
from service.process import usable_cpus
from tests.benchmarks.load import DEFAULT_MODEL, BarePipeline, jpeg, rate
from tests.benchmarks.table import Row, Rows, run
from tests.service_process import MODELS

ROUNDS, ROUND_S = 7, 2.0
MODEL = DEFAULT_MODEL.stem


def measure() -> Rows:
    """The medians of the rounds' ratios."""
    image = Image.open(io.BytesIO(jpeg()))
    automatic = Repository(MODELS, "cpu").variant(MODEL).card.precision
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
            bar = 1.8 if precision == "int8" and has_int8_dot_product() else None  # without VNNI, fp32 answers
            ratios = list(np.divide(rates[precision], rates["fp32"]))
            what = f"{MODEL}, 480x360, {threads} threads: {precision} over fp32"
            yield Row.median(what, ratios, "times", at_least=bar, note=f"answers by itself: {automatic}")


if __name__ == "__main__":
    run(measure)
