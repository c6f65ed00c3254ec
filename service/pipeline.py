"""From an upload to an answer: the blocking work of one request, on one worker thread."""

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Literal

from PIL import Image

from service.contract import GMAC_SIZE
from service.geometry import resized, working_size
from service.imaging.decode import Upload, decode
from service.inference.models.model import Model
from service.inference.models.variant import Variant
from service.inference.scheduling.engine import EXPECTED_SPEED
from service.inference.scheduling.workers import Ticket
from service.inference.scores import Schedule
from service.inference.sessions.errors import OutOfDeviceMemory
from service.results.areas import Segmentation, segment
from service.results.renderings import RENDERINGS, Format, ModelInfo, Outcome, Rendered

log = logging.getLogger(__name__)

Resolution = Literal["model", "native"] | int
COUNTED_MEGAPIXELS = prod(GMAC_SIZE) / 1e6  # of the image for which a card states `gmac`
GMAC_PER_S = 10.0  # first estimate of the speed of one core
SLOWEST_EXPECTED = 1e-3  # megapixels per second; no first estimate is lower, whatever a card says


class SizeNotTaken(ValueError):
    """The upright image's working size is one that the model cannot run."""


@dataclass(frozen=True)
class Job:
    """One accepted request."""

    upload: Upload
    variant: Variant
    resolution: Resolution  # "model": the model's default; "native": the image's own size; or a long side in pixels
    format: Format
    opacity: float

    def working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) at which the network sees an image of `size` (width, height)."""
        if self.resolution == "model":
            return self.variant.file.interface.working_size(*size, self.variant.card.long_side)
        return working_size(*size, None if self.resolution == "native" else self.resolution)

    @property
    def megapixels(self) -> float:
        """The request's cost: its padded working size in 10^6 pixels, computed from the image's header alone."""
        working = self.working_size(self.upload.size)
        return prod(self.variant.file.interface.padded_size(*working, self.variant.card.stride)) / 1e6

    @property
    def kind(self) -> str:
        """Key under which the speed of work is measured: the model's file."""
        return self.variant.file.sha256

    @property
    def expected_speed(self) -> float:
        """Estimated megapixels per second of one core, used until the speed is measured."""
        gmac_per_megapixel = self.variant.card.gmac / COUNTED_MEGAPIXELS
        expected = GMAC_PER_S / gmac_per_megapixel if gmac_per_megapixel else EXPECTED_SPEED
        return max(SLOWEST_EXPECTED, min(EXPECTED_SPEED, expected))


def process(job: Job, ticket: Ticket) -> tuple[Outcome, Rendered]:
    """Decode the image, run the model, label the pixels and render the answer.

    Raises BrokenImage, UnsupportedImage or SizeNotTaken for faults that the image's header did not show; InvalidModel or
    UnreadableModel if the variant cannot be loaded; RunFailed, OutOfDeviceMemory or DeviceUnavailable if it cannot be run; and
    Cancelled if the work is cancelled.
    """
    with ExitStack() as pixels:  # closed on failure too: a traceback keeps its frames' locals, and so the images
        return _processed(job, ticket, pixels)


def _processed(job: Job, ticket: Ticket, pixels: ExitStack) -> tuple[Outcome, Rendered]:
    start = time.perf_counter()
    card, check = job.variant.card, ticket.cancellation.check
    pixels.callback(job.upload.close)
    photo = decode(job.upload, check)
    pixels.callback(photo.stored.close)
    working = job.working_size(photo.size)
    if not job.variant.file.takes(working):
        raise SizeNotTaken
    rendering = RENDERINGS[job.format]
    image = photo.upright() if rendering.needs_image else None
    shrunk = photo.resized(working) if image is None else resized(image, working)
    pixels.callback(shrunk.close)
    if image is not None:
        pixels.callback(image.close)
    if photo.stored is not image and photo.stored is not shrunk:
        photo.stored.close()
    check()
    decoded = time.perf_counter()
    model, schedule, segmentation = _segmented(job, ticket, shrunk, photo.size)
    if shrunk is not image:
        shrunk.close()
    inferred = time.perf_counter()
    check()
    outcome = Outcome(
        card=card,
        model=ModelInfo(name=card.name, sha256=job.variant.file.sha256, device=model.device, precision=card.precision),
        image=image,
        orientation=photo.orientation,
        segmentation=segmentation,
        opacity=job.opacity,
        schedule=schedule,
        decode_ms=(decoded - start) * 1000,
        queue_ms=ticket.queued_ms,
        infer_ms=(inferred - decoded) * 1000,
        check=check,
    )
    return outcome, rendering.render(outcome)


def _segmented(job: Job, ticket: Ticket, image: Image.Image, user: tuple[int, int]) -> tuple[Model, Schedule, Segmentation]:
    """Run `image`, given at its working size; returns the model, its schedule, and the labels at size `user` (width, height).

    If memory runs out, the image is run once more, in small tiles if the model can be tiled. Raises as `Variant.model` and
    `Model.scores` do.
    """
    model: Model | None = None
    try:
        model = _loaded(job, ticket)
        try:
            found = _labelled(model, ticket, image, user)
        except OutOfDeviceMemory as error:
            reason = str(error)  # a log record would keep the error itself
            log.warning("out of memory on %s at %dx%d, once more with less: %s", model.device, *image.size, reason)
            found = None  # after this block the error is freed, and with it what its frames hold
        if found is None:
            model.give_back()
            found = _labelled(model, ticket, image, user, small_tiles=True)
    except OutOfDeviceMemory:
        job.variant.ran_out_of_memory(model)
        raise
    job.variant.succeeded()
    return model, *found


def _loaded(job: Job, ticket: Ticket) -> Model:
    """The variant's model; the ticket notes how long loading took, even if it failed. Raises as `Variant.model` does."""
    start = time.perf_counter()
    try:
        return job.variant.model(ticket.cancellation)
    finally:
        ticket.loading_s = time.perf_counter() - start


def _labelled(
    model: Model, ticket: Ticket, image: Image.Image, user: tuple[int, int], small_tiles: bool = False
) -> tuple[Schedule, Segmentation]:
    scores = model.scores(image, ticket.cancellation, all_cores=ticket.has_all_cores, small_tiles=small_tiles)
    return scores.schedule, segment(scores, len(model.card.classes), image.size, user, ticket.cancellation)
