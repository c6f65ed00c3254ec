"""From an upload to an answer: the blocking work of one request, on one worker thread."""

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Literal

from PIL import Image

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
COUNTED_MEGAPIXELS = 480 * 352 / 1e6  # of the image that a card's `gmac` is for
GMAC_PER_S = 10.0  # of one core, as a first guess


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

    @property
    def kind(self) -> str:
        """Of work whose speed is measured together: one network's."""
        return f"{self.variant.card.name} {self.variant.card.precision}"

    @property
    def expected_speed(self) -> float:
        """Megapixels a second of one core, until it is measured."""
        gmac_per_megapixel = self.variant.card.gmac / COUNTED_MEGAPIXELS
        return min(EXPECTED_SPEED, GMAC_PER_S / gmac_per_megapixel) if gmac_per_megapixel else EXPECTED_SPEED


def process(job: Job, ticket: Ticket) -> tuple[Outcome, Rendered]:
    """Decode, run, label and render.

    Raises BrokenImage, UnsupportedImage or SizeNotTaken for what the header did not show, InvalidModel or UnreadableModel for
    a variant that turns out not to run, RunFailed, OutOfDeviceMemory, DeviceUnavailable, and Cancelled when called off.
    """
    with ExitStack() as pixels:  # a traceback keeps its frames' locals: a failed request is to hold no pixels
        return _processed(job, ticket, pixels)


def _processed(job: Job, ticket: Ticket, pixels: ExitStack) -> tuple[Outcome, Rendered]:
    start = time.perf_counter()
    card, check = job.variant.card, ticket.cancellation.check
    pixels.callback(job.upload.image.close)
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
    """The model, how it has run the image at its working size, and the labels at the user's (width, height).

    Where memory runs out, once more, in small tiles if it can be tiled. Raises as `Variant.model` and `Model.scores` do.
    """
    model: Model | None = None
    try:
        model = job.variant.model()
        try:
            found = _labelled(model, ticket, image, user)
        except OutOfDeviceMemory as error:
            reason = str(error)  # a record of the log keeps what it is given
            log.warning("out of memory on %s at %dx%d, once more with less: %s", model.device, *image.size, reason)
            found = None  # the error goes here, and with it what its frames hold
        if found is None:
            model.give_back()
            found = _labelled(model, ticket, image, user, small_tiles=True)
    except OutOfDeviceMemory:
        job.variant.ran_out_of_memory(model)
        raise
    job.variant.succeeded()
    return model, *found


def _labelled(
    model: Model, ticket: Ticket, image: Image.Image, user: tuple[int, int], small_tiles: bool = False
) -> tuple[Schedule, Segmentation]:
    scores = model.scores(image, ticket.cancellation, all_cores=ticket.has_all_cores, small_tiles=small_tiles)
    return scores.schedule, segment(scores, len(model.card.classes), image.size, user, ticket.cancellation)
