"""The forms of an answer: each rendering is one function from an outcome to bytes, and all are listed in RENDERINGS."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from pydantic import BaseModel, Field

from service.contract import ClassInfo, ModelCard, Precision
from service.imaging.encode import mask_png, overlay_jpeg
from service.inference.scores import Schedule
from service.inference.sessions.device import ReportedDevice
from service.results.areas import Segmentation

CLASSES_HEADER = "Segment-Classes"
CLASSES_HEADER_LIMIT = 4096  # bytes; proxies refuse long headers

Format = Literal["json", "mask", "overlay"]


class ModelInfo(BaseModel):
    """Which model answered, and on which device."""

    name: str
    sha256: str = Field(description="of the file, hexadecimal")
    device: ReportedDevice = Field(description="as the session reports it")
    precision: Precision = Field(description="of the file")


class ImageInfo(BaseModel):
    """The image as a person sees it."""

    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    orientation: int = Field(description="EXIF orientation that was undone, 1..8; 1: none")


class ClassArea(ClassInfo):
    """One class of the model, and how much of the image it covers."""

    pixels: int = Field(description="that the class won; those of all classes sum to width x height")
    fraction: float = Field(description="pixels / (width x height), 0..1")
    confidence: float | None = Field(description="mean softmax probability, 0..1, of the pixels that it won; null: it won none")


class Timings(BaseModel):
    """Milliseconds spent on each step."""

    decode: float = Field(description="bytes to pixels at the working size")
    queue: float = Field(description="from admission until a worker was free")
    infer: float = Field(description="pixels to labels; for the first request of a variant, its loading too")
    encode: float = Field(description="labels to PNG")


class SegmentAnswer(BaseModel):
    """The JSON answer. The pixels of all classes sum exactly to width x height."""

    model: ModelInfo
    image: ImageInfo
    classes: list[ClassArea]
    mask: str = Field(description="indexed PNG as a data URL: pixel value = class id")
    timings_ms: Timings


class Legend(BaseModel):
    """What a mask says of itself, in its PNG."""

    model: ModelInfo
    classes: list[ClassArea]


@dataclass(frozen=True)
class Outcome:
    """Everything known about one segmented image."""

    card: ModelCard
    model: ModelInfo
    image: Image.Image | None  # upright RGB, for renderings that need it
    orientation: int
    segmentation: Segmentation
    opacity: float
    decode_ms: float
    queue_ms: float
    infer_ms: float
    schedule: Schedule
    check: Callable[[], None]  # raises if the work was cancelled

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
    """The mask as an indexed PNG; a header gives the pixels of each class present, unless it would exceed its limit."""
    present = {str(number): pixels for number, pixels in enumerate(outcome.segmentation.pixels) if pixels}
    header = json.dumps(present, separators=(",", ":"))
    return Rendered(_mask(outcome), "image/png", {CLASSES_HEADER: header} if len(header) <= CLASSES_HEADER_LIMIT else {})


def render_overlay(outcome: Outcome) -> Rendered:
    """A JPEG of the image under the classes' colours."""
    found = outcome.segmentation
    assert outcome.image is not None
    body = overlay_jpeg(outcome.image, found.labels, outcome.card.classes, outcome.opacity, outcome.check)
    return Rendered(body, "image/jpeg", {})


@dataclass(frozen=True)
class Rendering:
    """One form of an answer."""

    render: Callable[[Outcome], Rendered]
    needs_image: bool = False  # `Outcome.image`, at the user's size


RENDERINGS: dict[Format, Rendering] = {
    "json": Rendering(render_json),
    "mask": Rendering(render_mask),
    "overlay": Rendering(render_overlay, needs_image=True),
}


def _mask(outcome: Outcome) -> bytes:
    legend = Legend(model=outcome.model, classes=outcome.areas)
    return mask_png(outcome.segmentation.labels, outcome.card.classes, legend.model_dump_json())
