"""From an upload to an answer: the blocking work of one request, on one worker thread."""

import logging
import time
from dataclasses import dataclass
from math import prod
from typing import Literal

from PIL import Image

from service.geometry import resized, working_size
from service.imaging.decode import Upload, decode
from service.inference.cancellation import OutOfDeviceMemory
from service.inference.engine import Ticket
from service.inference.model import Model
from service.inference.repository import Variant
from service.inference.scores import Schedule
from service.results.areas import Segmentation, segment
from service.results.renderings import RENDERINGS, Format, ModelInfo, Outcome, Rendered

log = logging.getLogger(__name__)

Resolution = Literal["model", "native"] | int


class SizeNotTaken(ValueError):
    """The image, turned upright, is of another size than the one that the model takes."""


@dataclass(frozen=True)
class Job:
    """One accepted request."""

    upload: Upload
    variant: Variant
    resolution: Resolution  # "model": what the model is made for; "native": the image's own size; or a long side in pixels
    format: Format
    opacity: float

    def working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) at which the network sees an image of that size."""
        if self.resolution == "model":
            return self.variant.file.interface.working_size(*size, self.variant.card.long_side)
        return working_size(*size, None if self.resolution == "native" else self.resolution)

    @property
    def megapixels(self) -> float:
        """Working size with padding, 10^6 pixels: what the request costs, by its header alone."""
        working = self.working_size(self.upload.size)
        return prod(self.variant.file.interface.padded_size(*working, self.variant.card.stride)) / 1e6


def process(job: Job, ticket: Ticket) -> tuple[Outcome, Rendered]:
    """Decode, run, label and render.

    Raises BrokenImage, UnsupportedImage or SizeNotTaken for what the header did not show, InvalidModel for a variant that
    turns out not to run, RunFailed, OutOfDeviceMemory, and Cancelled when the work was called off.
    """
    start = time.perf_counter()
    card = job.variant.card
    photo = decode(job.upload, ticket.cancellation.check)
    working = job.working_size(photo.size)
    if not job.variant.file.takes(working):
        raise SizeNotTaken
    # The pixels, four bytes each, are kept upright for an overlay alone.
    image = photo.upright() if job.format == "overlay" else None
    shrunk = photo.resized(working) if image is None else resized(image, working)
    if photo.stored is not image and photo.stored is not shrunk:
        photo.stored.close()
    ticket.cancellation.check()
    decoded = time.perf_counter()
    model: Model | None = None
    try:
        model = job.variant.model()
        try:
            schedule, segmentation = _segmented(job, model, ticket, shrunk, photo.size)
        except OutOfDeviceMemory as error:
            log.warning(
                "out of memory on %s at %dx%d, once more with as little as it can: %s",
                model.device,
                *working,
                error,
            )
            model.give_back()
            schedule, segmentation = _segmented(job, model, ticket, shrunk, photo.size, small=True)
    except OutOfDeviceMemory:
        job.variant.ran_out_of_memory(model)
        raise
    job.variant.succeeded()
    if shrunk is not image:
        shrunk.close()
    inferred = time.perf_counter()
    ticket.cancellation.check()
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
    )
    return outcome, RENDERINGS[job.format](outcome)


def _segmented(
    job: Job, model: Model, ticket: Ticket, image: Image.Image, user: tuple[int, int], small: bool = False
) -> tuple[Schedule, Segmentation]:
    """How the image, at its working size, was run, and its labels at the user's (width, height)."""
    scores = model.scores(image, ticket.cancellation, ticket.has_all_cores, small)
    return scores.schedule, segment(scores, len(job.variant.card.classes), image.size, user, ticket.cancellation)
