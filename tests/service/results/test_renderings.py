"""Renderings of results that no small model gives."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from service.contract import ModelCard
from service.geometry import STRIP_PIXELS
from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.results.areas import Segmentation
from service.results.renderings import CLASSES_HEADER, ModelInfo, Outcome, render_mask, render_overlay
from tests.service.helpers.answers import labels_of
from tests.service.helpers.pictures import opened
from tests.service.helpers.tiny_models import card


def outcome(classes: int, labels: np.ndarray[tuple[int, int], np.dtype[np.uint8]], pixels: tuple[int, ...]) -> Outcome:
    """A result of a model with many classes."""
    entries = [{"id": n, "name": f"Klasse «{n}»", "color": f"#{n:02x}{255 - n:02x}80"} for n in range(classes)]
    confidence = tuple(0.5 if count else None for count in pixels)
    return Outcome(
        schedule="all_cores",
        card=ModelCard.model_validate(card(classes=entries)),
        model=ModelInfo(name="many", sha256="0" * 64, device="cpu", precision="fp32"),
        image=Image.new("RGB", labels.shape[::-1]),
        orientation=1,
        segmentation=Segmentation(labels, pixels, confidence),
        opacity=1.0,
        decode_ms=0,
        queue_ms=0,
        infer_ms=0,
        check=lambda: None,
    )


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 16, 17, 255])
def test_pixel_values_are_class_ids_however_many_there_are(classes: int) -> None:
    labels = np.arange(classes, dtype=np.uint8)[None]
    content = render_mask(outcome(classes, labels, (1,) * classes)).body
    assert (labels_of(content) == labels).all()
    legend = json.loads(opened(content).info["segmentation"])
    assert [entry["name"] for entry in legend["classes"]] == [f"Klasse «{n}»" for n in range(classes)]
    painted = np.asarray(opened(content).convert("RGB"))[0]
    assert painted.tolist() == [[n, 255 - n, 128] for n in range(classes)]


def test_a_legend_is_json_or_nothing() -> None:
    described = outcome(1, np.zeros((2, 2), np.uint8), (4,))
    broken = replace(described, segmentation=replace(described.segmentation, confidence=(float("nan"),)))
    with pytest.raises(ValueError, match="finite"):
        render_mask(broken)


def test_a_header_above_4_kb_is_left_out() -> None:
    labels = np.arange(255, dtype=np.uint8)[None]
    within = render_mask(outcome(255, labels, (1000,) * 255)).headers[CLASSES_HEADER]
    assert len(within) <= 4096
    assert within.isascii()
    assert len(json.loads(within)) == 255
    assert CLASSES_HEADER not in render_mask(outcome(255, labels, (10**12,) * 255)).headers


def test_an_overlay_does_not_take_over_what_was_written_beside_the_pixels() -> None:
    described = outcome(1, np.zeros((2, 2), np.uint8), (4,))
    assert described.image is not None
    described.image.info["comment"] = b"x" * 70_000  # more than a JPEG can hold
    assert "comment" not in opened(render_overlay(described).body).info


def test_an_overlay_can_be_as_long_as_a_jpeg_can() -> None:
    labels = np.zeros((1, 65_500), np.uint8)
    assert opened(render_overlay(outcome(1, labels, (65_500,))).body).size == (65_500, 1)


def test_an_overlay_stops_when_it_is_cancelled() -> None:
    cancellation, looks = Cancellation(), 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            cancellation.cancel()
        cancellation.check()

    labels = np.zeros((4, STRIP_PIXELS), np.uint8)  # four strips
    with pytest.raises(Cancelled):
        render_overlay(replace(outcome(1, labels, (labels.size,)), check=check))
    assert looks == 2
