"""HEAD requests, as monitors and load balancers send them."""

from starlette.types import ASGIApp, Receive, Scope, Send


class AnswerHead:
    """Middleware: answers HEAD with the status and headers of GET (RFC 9110, 9.3.2), as FastAPI makes no routes for HEAD.

    The server knows that the request was HEAD, and leaves out the body.
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
