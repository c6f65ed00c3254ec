"""Middleware that gives each request an id, counts its answer and logs it."""

import logging
import random
import re
import time
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.counters import Counters
from service.logs import event, request_id

REQUEST_ID_HEADER = b"x-request-id"
QUIET = {"/livez", "/readyz", "/metrics"}  # requested every few seconds by monitors: counted, but not logged
_DECENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger(__name__)


class RequestLog:
    """The middleware.

    The counters are labelled with the route's template, so that paths made up by clients add no time series. The id is the
    client's own if it sends one in X-Request-ID of at most 64 letters, digits, dots, underscores and hyphens; otherwise it is
    new. The answer repeats the id in the same header.
    """

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self.app, self.counters = app, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500  # the status that the server sends if the application fails to answer
        identity = _request_id(scope["headers"])
        request_id.set(identity)  # each request runs in a task of its own, with its own context

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, identity.encode())]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "none")
            self.counters.requests.labels(route, str(status)).inc()
            self.counters.latency.labels(route).observe(seconds)
            if route not in QUIET:
                event(log, "request", method=scope["method"], route=route, status=status, milliseconds=round(seconds * 1000, 1))


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    given = next((value for name, value in headers if name == REQUEST_ID_HEADER), b"").decode("latin-1")
    return given if _DECENT_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"  # not secret: worth no system call
