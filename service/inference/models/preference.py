"""Which of a model's files answers when none is asked for: a rule, so that two machines of a kind choose alike."""

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from service.contract import ModelCard, Precision
from service.inference.sessions.device import ReportedDevice

MIN_SPEEDUP = 1.2  # times as fast as fp32, by its card: for less, no accuracy is given away
# Without these instructions int8 is slower than fp32 (0.9 times, with AVX2 alone, by tests/benchmarks/bench_variants.py).
# Names as in /proc/cpuinfo.
_INT8_DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}


@cache
def has_int8_dot_product() -> bool:
    """Whether this processor has int8 dot-product instructions (VNNI, AMX, or Arm's dotprod)."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return platform.machine() == "arm64"  # Apple's, which all have them
    return not _INT8_DOT_PRODUCTS.isdisjoint(words)


def by_preference(cards: Mapping[Precision, ModelCard], device: ReportedDevice) -> list[Precision]:
    """The precisions there are, the best for the device first.

    fp16 on a GPU, int8 on a processor with int8 dot products; but only where the card says what it costs against
    fp32, which is the next choice.
    """
    order: list[Precision] = ["fp32", "int8", "fp16"]
    quick: Precision = "fp16" if device == "cuda" else "int8"
    card = cards.get(quick)
    if card is not None and card.compared is not None and (device == "cuda" or _pays(card.compared.latency_ratio)):
        order.sort(key=lambda precision: precision != quick)
    return [precision for precision in order if precision in cards]


def _pays(latency_ratio: float) -> bool:
    return latency_ratio >= MIN_SPEEDUP and has_int8_dot_product()
