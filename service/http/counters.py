"""Counters for Prometheus. Each application has its own: two applications in one process do not share them."""

import logging
import random
import re
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.inference.models.repository import Repository
from service.inference.scheduling.engine import Engine
from service.logs import event, request_id
from service.results.renderings import Outcome

REQUEST_ID_HEADER = b"x-request-id"
QUIET = {"/livez", "/readyz", "/metrics"}  # requested every few seconds by monitors: counted, but not logged
_DECENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger(__name__)


class Counters:
    """The metrics of one application."""

    def __init__(self, engine: Engine, repository: Repository) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("segment_http_requests_total", "Answers", ["route", "status"], registry=self.registry)
        self.latency = Histogram("segment_http_request_seconds", "Request to answer", ["route"], registry=self.registry)
        self.connections_refused = Counter(  # labelled with the status, or with why the connection was cut off
            "segment_connections_refused_total", "Connections refused or cut off", ["reason"], registry=self.registry
        )
        self.steps = Histogram(
            "segment_step_seconds", "Steps of a segmentation", ["step", "model", "device"], registry=self.registry
        )
        models = Gauge("segment_models", "Models that are served", registry=self.registry)
        models.set_function(lambda: len(repository.models))
        broken = Gauge("segment_broken_models", "Model files that are not served: GET /models says why", registry=self.registry)
        broken.set_function(lambda: len(repository.broken))
        self.runs = Counter("segment_runs_total", "Segmentations by how they were run", ["schedule"], registry=self.registry)
        queued = Gauge("segment_admitted_megapixels", "Working size of accepted requests", registry=self.registry)
        queued.set_function(lambda: engine.admitted_megapixels)

    def observe(self, outcome: Outcome) -> None:
        """Count one segmentation by its schedule, and record the time of each step."""
        self.runs.labels(outcome.schedule).inc()
        steps = {"decode": outcome.decode_ms, "queue": outcome.queue_ms, "infer": outcome.infer_ms}
        for step, milliseconds in steps.items():
            self.steps.labels(step, outcome.model.name, outcome.model.device).observe(milliseconds / 1000)


class AccountForRequests:
    """Middleware: gives each request an id, counts its answer, and logs it.

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
