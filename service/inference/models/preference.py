"""Choosing a model's precision for requests that name none, by a fixed rule: two machines of a kind choose alike."""

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from service.contract import ModelCard, Precision
from service.inference.sessions.device import ReportedDevice

MIN_SPEEDUP = 1.2  # int8 must be this many times as fast as fp32, by its card, to be worth its loss of accuracy
# Without these instructions int8 is slower than fp32 (0.9 times the speed with AVX2 alone: tests/benchmarks/bench_variants.py).
# Names as in /proc/cpuinfo.
_INT8_DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp"}


@cache
def has_int8_dot_product() -> bool:
    """Whether this processor has int8 dot-product instructions (VNNI, AMX, or Arm's dotprod)."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return platform.machine() == "arm64"  # Apple's processors, which all have these instructions
    return not _INT8_DOT_PRODUCTS.isdisjoint(words)


def by_preference(cards: Mapping[Precision, ModelCard], device: ReportedDevice) -> list[Precision]:
    """The available precisions, the best for the device first.

    The best is fp16 on a GPU, and int8 on a processor with int8 dot products if it is at least MIN_SPEEDUP times as fast as
    fp32. Both are chosen only if their card compares them with fp32, which is the next choice.
    """
    order: list[Precision] = ["fp32", "int8", "fp16"]
    quick: Precision = "fp16" if device == "cuda" else "int8"
    card = cards.get(quick)
    if card is not None and card.compared is not None and (device == "cuda" or _pays(card.compared.latency_ratio)):
        order.sort(key=lambda precision: precision != quick)
    return [precision for precision in order if precision in cards]


def _pays(latency_ratio: float) -> bool:
    return latency_ratio >= MIN_SPEEDUP and has_int8_dot_product()
