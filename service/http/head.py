"""HEAD, which monitors and load balancers ask."""

from starlette.types import ASGIApp, Receive, Scope, Send


class AnswerHead:
    """Middleware: HEAD has the status and headers of GET (RFC 9110, 9.3.2), for which FastAPI makes no routes.

    The server leaves out the body, as it knows what was asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        try:
            await self.app(asked, receive, send)
        finally:
            scope["route"] = asked.get("route")  # for the counters
