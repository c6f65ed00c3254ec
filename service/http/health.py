"""Routes for orchestrators and monitors: /livez, /readyz and /metrics."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from service.http.counters import Counters
from service.http.lifecycle import Lifecycle
from service.http.problems import Problem, no_model, responses, stopping
from service.inference.models.repository import Repository
from service.inference.scheduling.watchdog import Watchdog


class Status(BaseModel):
    """The answer of a check that passed; a check that fails is answered with a problem."""

    status: Literal["ok"] = "ok"


def health_router(repository: Repository, counters: Counters, watchdog: Watchdog) -> APIRouter:
    """The routes that report on the models, counters and watchdog given."""
    router = APIRouter()

    def require_alive() -> None:
        if not watchdog.alive:
            raise Problem(503, "images can no longer be segmented: test images fail, or work does not end")

    @router.get("/livez", summary="Is the process alive? If not, restart it", responses=responses(503))
    async def livez() -> Status:
        require_alive()
        return Status()

    @router.get("/readyz", summary="Can it answer?", responses=responses(503))
    async def readyz(request: Request) -> Status:
        if Lifecycle.of(request.app).draining.is_set():
            raise stopping()
        require_alive()
        if not repository.models:
            raise no_model()
        if repository.failing:
            raise Problem(503, f"not enough memory for {', '.join(repository.failing)}")
        return Status()

    @router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(generate_latest(counters.registry), media_type=CONTENT_TYPE_LATEST)

    return router
