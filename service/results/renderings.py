"""One result, several forms. A rendering is one function from an outcome to bytes; the table below is all there is."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from pydantic import BaseModel

from service.contract import ClassInfo, ModelCard, Precision
from service.imaging.encode import mask_png, overlay_jpeg
from service.inference.device import ReportedDevice
from service.inference.scores import Schedule
from service.results.areas import Segmentation

CLASSES_HEADER = "Segment-Classes"
CLASSES_HEADER_LIMIT = 4096  # bytes; proxies refuse long headers

Format = Literal["json", "mask", "overlay"]


class ModelInfo(BaseModel):
    """Which model answered, and on what."""

    name: str
    sha256: str
    device: ReportedDevice
    precision: Precision


class ImageInfo(BaseModel):
    """The image as a person sees it."""

    width: int
    height: int
    orientation: int


class ClassArea(ClassInfo):
    """One class of the model, and how much of the image it covers."""

    pixels: int
    fraction: float
    confidence: float | None


class Timings(BaseModel):
    """Milliseconds spent on each step."""

    decode: float
    queue: float
    infer: float
    encode: float


class SegmentAnswer(BaseModel):
    """The JSON answer. The pixels of all classes sum exactly to width x height."""

    model: ModelInfo
    image: ImageInfo
    classes: list[ClassArea]
    mask: str
    timings_ms: Timings


@dataclass(frozen=True)
class Outcome:
    """All that is known of one segmented image."""

    card: ModelCard
    model: ModelInfo
    image: Image.Image | None  # upright RGB, for an overlay alone
    orientation: int
    segmentation: Segmentation
    opacity: float
    decode_ms: float
    queue_ms: float
    infer_ms: float
    schedule: Schedule
    check: Callable[[], None]  # raises when the work is called off

    @property
    def areas(self) -> list[ClassArea]:
        """Every class of the model, in id order."""
        found = self.segmentation
        return [
            ClassArea(**entry.model_dump(), pixels=pixels, fraction=fraction, confidence=confidence)
            for entry, pixels, fraction, confidence in zip(
                self.card.classes, found.pixels, found.fractions, found.confidence, strict=True
            )
        ]


@dataclass(frozen=True)
class Rendered:
    """An answer's body."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]


def render_json(outcome: Outcome) -> Rendered:
    """The whole answer, with the mask as a data URL."""
    start = time.perf_counter()
    mask = "data:image/png;base64," + base64.b64encode(_mask(outcome)).decode("ascii")
    height, width = outcome.segmentation.labels.shape
    answer = SegmentAnswer(
        model=outcome.model,
        image=ImageInfo(width=width, height=height, orientation=outcome.orientation),
        classes=outcome.areas,
        mask=mask,
        timings_ms=Timings(
            decode=round(outcome.decode_ms, 3),
            queue=round(outcome.queue_ms, 3),
            infer=round(outcome.infer_ms, 3),
            encode=round((time.perf_counter() - start) * 1000, 3),
        ),
    )
    return Rendered(answer.model_dump_json().encode(), "application/json", {})


def render_mask(outcome: Outcome) -> Rendered:
    """The indexed PNG, and the areas of the classes present in a header."""
    present = {str(number): pixels for number, pixels in enumerate(outcome.segmentation.pixels) if pixels}
    header = json.dumps(present, separators=(",", ":"))
    return Rendered(_mask(outcome), "image/png", {CLASSES_HEADER: header} if len(header) <= CLASSES_HEADER_LIMIT else {})


def render_overlay(outcome: Outcome) -> Rendered:
    """A JPEG of the image under the classes' colours."""
    found = outcome.segmentation
    assert outcome.image is not None
    body = overlay_jpeg(outcome.image, found.labels, outcome.card.classes, outcome.opacity, outcome.check)
    return Rendered(body, "image/jpeg", {})


RENDERINGS: dict[Format, Callable[[Outcome], Rendered]] = {
    "json": render_json,
    "mask": render_mask,
    "overlay": render_overlay,
}


def _mask(outcome: Outcome) -> bytes:
    legend = {"model": outcome.model.model_dump(), "classes": [area.model_dump() for area in outcome.areas]}
    return mask_png(outcome.segmentation.labels, outcome.card.classes, json.dumps(legend, allow_nan=False))
