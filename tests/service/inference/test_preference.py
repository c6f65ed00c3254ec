"""Which variant answers by itself."""

from pathlib import Path

import pytest

from service.contract import ModelCard, Precision
from service.inference.models import preference
from service.inference.models.preference import by_preference
from service.inference.sessions.device import ReportedDevice
from tests.service.helpers.tiny_models import card


def cards(*, latency_ratio: float | None = 1.8) -> dict[Precision, ModelCard]:
    price = {"fp32_mean_iou": 0.8, "lost_points": 0.1, "fp32_milliseconds": 20.0, "latency_ratio": latency_ratio}
    compared = None if latency_ratio is None else price
    return {
        "fp32": ModelCard.model_validate(card()),
        "int8": ModelCard.model_validate(card(precision="int8", compared=compared)),
        "fp16": ModelCard.model_validate(card(precision="fp16", compared=compared)),
    }


@pytest.mark.parametrize(
    ("device", "bytes_are_quick", "latency_ratio", "first"),
    [
        ("cpu", True, 1.8, "int8"),
        ("cpu", False, 1.8, "fp32"),
        ("cpu", True, 1.1, "fp32"),
        ("cpu", True, None, "fp32"),
        ("cuda", True, 0.7, "fp16"),  # the ratio was measured on a CPU
        ("cuda", True, None, "fp32"),
    ],
)
def test_a_variant_answers_where_it_pays_and_its_price_is_known(
    device: ReportedDevice, bytes_are_quick: bool, latency_ratio: float | None, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preference, "has_int8_dot_product", lambda: bytes_are_quick)
    order = by_preference(cards(latency_ratio=latency_ratio), device)
    assert order[0] == first
    assert sorted(order) == ["fp16", "fp32", "int8"]


def test_what_there_is_answers() -> None:
    alone: dict[Precision, ModelCard] = {"fp16": cards()["fp16"]}
    assert by_preference(alone, "cpu") == ["fp16"]


@pytest.mark.parametrize(
    ("instructions", "are_quick"),
    [
        ("sse4_2 avx avx2 avx512f", False),
        ("avx2 avx_vnni", True),
        ("avx512f avx512_vnni", True),
        ("amx_tile amx_int8", True),
        ("fp asimd", False),
        ("fp asimd asimddp", True),
    ],
)
def test_a_processor_says_whether_it_has_products_of_bytes(
    instructions: str, are_quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nflags\t\t: fpu {instructions} sse\n")
    monkeypatch.setattr(preference, "Path", lambda _: told)
    assert preference.has_int8_dot_product.__wrapped__() == are_quick
