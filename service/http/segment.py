"""POST /segment."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute

from service.http.counters import Counters
from service.http.disconnect import unless_gone
from service.http.negotiation import preferred_format
from service.http.problems import Problem, no_model, responses
from service.http.query import query_parameters, segment_query
from service.http.uploads import FIELD, UploadBudget, uploaded_image
from service.imaging.decode import open_image
from service.inference.files.model_file import InvalidModel, ModelFile, UnreadableModel
from service.inference.models.repository import Repository
from service.inference.scheduling.engine import Engine
from service.inference.sessions.device import DeviceUnavailable
from service.inference.sessions.errors import RunFailed
from service.pipeline import Job, SizeNotTaken, process
from service.results.renderings import CLASSES_HEADER, SegmentAnswer
from service.settings import Settings

log = logging.getLogger(__name__)

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_IMAGE = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP or TIFF, decided by the content"}
_OPENAPI: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _IMAGE}}},
            "image/*": {"schema": _IMAGE},
            "application/octet-stream": {"schema": _IMAGE},
        },
    }
}
_SUCCESS: dict[int | str, dict[str, object]] = {
    200: {
        "description": "Areas and mask; or the indexed PNG (`mask`), or a JPEG (`overlay`)",
        "model": SegmentAnswer,
        "content": {"image/png": _BINARY, "image/jpeg": _BINARY},
        "headers": {CLASSES_HEADER: {"description": "with a mask: {id: pixels} as JSON", "schema": {"type": "string"}}},
    }
}


class _PlainRoute(APIRoute):
    """A route without dependencies, whose endpoint takes the request and returns the response.

    For each request, FastAPI would look for what to pass to the endpoint, which takes a tenth of the time that HTTP takes.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


def add_segment_route(
    app: FastAPI,
    dependencies: Sequence[Depends],
    settings: Settings,
    repository: Repository,
    engine: Engine,
    budget: UploadBudget,
    counters: Counters,
) -> None:
    """Add the route for POST /segment, with the objects that it uses.

    It is the application's own: where a router is included with dependencies, `_PlainRoute` would pass them over.
    """

    async def segment(request: Request) -> Response:
        """Send an image as the multipart field `file` or as the raw body; get the area of each class and a mask."""
        query = segment_query(request)
        if not repository.models:
            raise no_model()
        chosen = repository.variant(query.model or settings.default_model, query.precision)
        async with uploaded_image(request, budget) as file:
            try:
                upload = await asyncio.to_thread(open_image, file, settings.max_pixels)
                job = Job(
                    upload=upload,
                    variant=chosen,
                    resolution=query.job_resolution(),
                    format=query.format or preferred_format(",".join(request.headers.getlist("accept"))),
                    opacity=query.opacity,
                )
                working = job.working_size(upload.size)
                if not (chosen.file.takes(working) or chosen.file.takes(working[::-1])):  # EXIF may exchange the sides
                    raise _too_large(chosen.file, working)
                running = engine.run(
                    lambda ticket: process(job, ticket),
                    job.megapixels,
                    settings.deadline_s + settings.deadline_s_per_megapixel * job.megapixels,
                    held_pixels=upload.decoded_pixels,
                    kind=job.kind,
                    expected_speed=job.expected_speed,
                )
                outcome, rendered = await unless_gone(request, running)
            except SizeNotTaken as error:
                raise _too_large(chosen.file, working) from error
            except (InvalidModel, UnreadableModel, RunFailed, DeviceUnavailable) as error:
                reason = str(error)  # a log record would keep the error itself, and with it the image
                log.error("%s (%s) does not run: %s", chosen.card.name, chosen.card.precision, reason)
                raise Problem(503, f"this variant of {chosen.card.name} does not run: {reason}") from error
        counters.observe(outcome)
        return Response(rendered.body, 200, rendered.headers, rendered.media_type)

    app.router.add_api_route(
        "/segment",
        segment,
        methods=["POST"],
        dependencies=dependencies,
        summary="Segment an image",
        responses=_SUCCESS | responses(400, 401, 404, 408, 413, 415, 422, 429, 503, 504),
        openapi_extra=_OPENAPI | {"parameters": query_parameters()},
        response_class=Response,
        route_class_override=None if dependencies else _PlainRoute,
    )


def _too_large(file: ModelFile, size: tuple[int, int]) -> Problem:
    if (fixed := file.interface.fixed_size) is not None:
        advice = f"takes images of up to {fixed[0]}x{fixed[1]} pixels; leave out the resolution"
    else:
        advice = f"does not run in tiles and takes {file.most_pixels:,} pixels at most; choose a smaller resolution"
    return Problem(413, f"{size[0]}x{size[1]} pixels: {file.card.name} {advice}", file.most_pixels)
