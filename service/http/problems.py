"""Errors as `application/problem+json` (RFC 9457), for every way in which a request can fail."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from service.http.disconnect import ClientGone
from service.imaging.errors import BrokenImage, TooManyPixels, UnsupportedImage
from service.inference.models.repository import UnknownModel
from service.inference.scheduling.engine import DeadlineExceeded, QueueFull
from service.inference.sessions.cancellation import Cancelled
from service.inference.sessions.errors import is_out_of_memory
from service.logs import request_id

MEDIA_TYPE = "application/problem+json"
TEMPORARY = (429, 503)  # the same request may succeed later
CLIENT_GONE = 499  # nginx's status, for the log and the counters only: the client is gone

log = logging.getLogger(__name__)


class ProblemDetails(BaseModel):
    """The body of a problem, as defined in RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    limit: int | float | None = Field(None, description="the limit that was hit, where one was")


class Problem(Exception):
    """An error, and the answer that reports it."""

    def __init__(
        self, status: int, detail: str, limit: int | float | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.details = ProblemDetails(title=HTTPStatus(status).phrase, status=status, detail=detail, limit=limit)
        self.headers = headers

    def response(self) -> JSONResponse:
        """The answer to send."""
        content = self.details.model_dump(exclude_none=True)
        return JSONResponse(content, self.details.status, self.headers, MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The OpenAPI description of the problems that a route can answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    retry = {"Retry-After": {"description": "seconds; left out if waiting may not help", "schema": {"type": "integer"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content, "headers": retry if status in TEMPORARY else {}}
        for status in statuses
    }


def stopping() -> Problem:
    """503 for a request that cannot be answered before the service stops."""
    return Problem(503, "the service is stopping")


def no_model() -> Problem:
    """503 while no model is served at all."""
    return Problem(503, "no model is loaded")


async def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response()


async def _with_status(_: Request, error: Exception, *, status: int) -> JSONResponse:
    """The error's own text and limit, where it has one."""
    return Problem(status, str(error), getattr(error, "limit", None)).response()


async def _queue_full(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QueueFull)
    return Problem(429, str(error), error.limit, {"Retry-After": str(error.retry_after_s)}).response()


async def _stopping(_: Request, __: Exception) -> JSONResponse:
    return stopping().response()


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _framework(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # see service.http.head
    return Problem(error.status_code, str(error.detail), headers=headers).response()


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = (f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
    return Problem(422, "; ".join(faults)).response()


async def _out_of_memory(_: Request, error: Exception) -> JSONResponse:
    log.error("out of memory: %s", error)
    return Problem(503, "not enough memory just now", headers={"Retry-After": "10"}).response()


async def _no_thread(request: Request, error: Exception) -> JSONResponse:
    if not is_out_of_memory(error):
        raise error
    return await _out_of_memory(request, error)


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", exc_info=error)
    headers = {"X-Request-ID": request_id.get()}  # this answer does not pass through the middleware
    return Problem(500, "an unexpected error; it has been logged", headers=headers).response()


# An error is answered by the entry of its own type, else by that of its nearest base. Errors whose answers name the model are
# turned into a Problem where the model is known: in `service.http.segment`.
HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    Problem: _problem,
    BrokenImage: partial(_with_status, status=400),
    UnknownModel: partial(_with_status, status=404),
    TooManyPixels: partial(_with_status, status=413),
    UnsupportedImage: partial(_with_status, status=415),
    QueueFull: _queue_full,
    DeadlineExceeded: partial(_with_status, status=504),
    Cancelled: _stopping,
    ClientGone: _gone,
    HTTPException: _framework,
    RequestValidationError: _invalid,
    MemoryError: _out_of_memory,
    RuntimeError: _no_thread,
    Exception: _unexpected,
}


def install(app: FastAPI) -> None:
    """Answer every error of the application and of the framework as a problem. Call this after all routes are added."""
    for error, handler in HANDLERS.items():
        app.add_exception_handler(error, handler)
    app.openapi()["components"]["schemas"][ProblemDetails.__name__] = ProblemDetails.model_json_schema()  # see `responses`
