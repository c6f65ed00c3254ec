"""The application. This is the one place where its parts are wired."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from service.http import problems
from service.http.access import require_key
from service.http.catalogue import catalogue_router
from service.http.cors import AllowOrigins
from service.http.counters import Counters
from service.http.head import AnswerHead
from service.http.health import health_router
from service.http.lifecycle import Lifecycle
from service.http.ranges import IgnoreRanges
from service.http.request_log import RequestLog
from service.http.segment import add_segment_route
from service.http.uploads import UploadBudget
from service.inference.models.repository import Repository, load_models
from service.inference.scheduling.engine import Engine
from service.inference.scheduling.periodic import PeriodicThread
from service.inference.scheduling.watchdog import CHECK_INTERVAL_S, Watchdog
from service.inference.sessions.batching import MAX_BATCH_SIZE
from service.inference.sessions.device import may_use_cuda
from service.process import usable_cpus
from service.settings import Settings

log = logging.getLogger(__name__)

RETRY_S = 10.0  # between attempts to load models that lacked memory, where the models folder is not watched
HELD_IMAGES = 2  # times max_pixels: limit on the pixels of all images in work at the same time
STATIC = Path(__file__).parent / "static"
CONTENT_SECURITY_POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"


def create_app(settings: Settings, repository: Repository | None = None) -> FastAPI:
    """Create the application; its models are loaded unless they are given. Raises as `load_models` does."""
    repository = repository or load_models(settings)
    if settings.default_model not in repository.models:
        log.warning("the default model %r is not in %s", settings.default_model, settings.models_dir.resolve())
    devices = {served.device for served in repository.models.values()}
    on_gpu = "cuda" in devices or (not devices and may_use_cuda(settings.device))  # for models that are added later
    # On a GPU, the images of one batch each occupy a worker, while one worker for each core decodes and encodes others.
    workers = usable_cpus() + (MAX_BATCH_SIZE if on_gpu else 0)
    engine = Engine(workers, settings.queue_megapixels, HELD_IMAGES * settings.max_pixels)
    budget = UploadBudget(settings.max_upload_bytes)
    counters = Counters(engine, repository)
    watchdog = Watchdog(repository, engine)

    def give_up() -> None:
        budget.is_closed = True
        engine.give_up()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        reload = repository.refresh if settings.reload_s else repository.try_again
        threads = (
            PeriodicThread("models", settings.reload_s or RETRY_S, reload),
            PeriodicThread("watchdog", CHECK_INTERVAL_S, watchdog.check),
        )
        # Python's default of cores + 4, but of the cores that this process may use. These threads read images' headers.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(usable_cpus() + 4, "header"))
        for thread in threads:
            thread.start()
        yield
        for thread in threads:
            thread.stop()
        await asyncio.to_thread(engine.close)

    app = FastAPIOffline(  # has the files of Swagger UI: the page loads nothing from other hosts
        docs_url=None,  # see `docs`
        title="Segmentation service",
        description="Fully convolutional networks as a web service: post an image, get a mask and the area of each class.",
        version="0.1.0",
        redoc_url=None,
        servers=[{"url": "."}],  # where this description is
        redirect_slashes=False,  # a wrong path is 404: a redirect would make the client send its upload twice
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # whatever OTEL_* may say
        lifespan=lifespan,
        responses=problems.responses(431),  # BoundedProtocol's, whatever the route
    )
    app.state.lifecycle = Lifecycle(give_up, engine.close, counters.connections_refused)
    keyed = [Depends(require_key(settings.api_keys))] if settings.api_keys else []
    add_segment_route(app, keyed, settings, repository, engine, budget, counters)
    app.include_router(catalogue_router(repository, settings.default_model), dependencies=keyed)
    app.include_router(health_router(repository, counters, watchdog))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    # Relative addresses, as the page's, unlike those of FastAPI: it also works behind a proxy that adds a path.
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        files = "static-offline-docs"
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{files}/swagger-ui-bundle.js",
            swagger_css_url=f"{files}/swagger-ui.css",
            swagger_favicon_url=f"{files}/favicon.png",
        )

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    problems.install(app)
    app.add_middleware(AnswerHead)
    app.add_middleware(IgnoreRanges)
    if settings.cors_origins:
        app.add_middleware(AllowOrigins, origins=settings.cors_origins)
    app.add_middleware(RequestLog, counters=counters)  # added last, so outermost
    return app
