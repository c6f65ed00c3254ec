"""Which of a model's files answers when none is asked for: a rule, so that two machines of a kind choose alike."""

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from service.contract import ModelCard, Precision
from service.inference.device import ReportedDevice

LEAST_GAIN = 1.2  # times as fast as fp32, by its card: for less, no accuracy is given away
# Instructions that sum products of bytes: without them int8 is slower than fp32 (0.9 times, with AVX2 alone, by
# tests/benchmarks/bench_variants.py). Names as in /proc/cpuinfo.
_BYTE_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}


@cache
def multiplies_bytes() -> bool:
    """Whether this processor has instructions for products of bytes."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return platform.machine() == "arm64"  # Apple's, which all have dot products of bytes
    return not _BYTE_PRODUCTS.isdisjoint(words)


def by_preference(cards: Mapping[Precision, ModelCard], device: ReportedDevice) -> list[Precision]:
    """The precisions there are, the best for the device first.

    fp16 on a GPU, int8 on a processor that multiplies bytes; but only where the card tells what it costs against fp32,
    which is the next choice.
    """
    order: list[Precision] = ["fp32", "int8", "fp16"]
    quick: Precision = "fp16" if device == "cuda" else "int8"
    card = cards.get(quick)
    if card is not None and card.compared is not None and (device == "cuda" or _pays(card.compared.latency_ratio)):
        order.sort(key=lambda precision: precision != quick)
    return [precision for precision in order if precision in cards]


def _pays(latency_ratio: float) -> bool:
    return latency_ratio >= LEAST_GAIN and multiplies_bytes()
