"""Requests for a part of a file."""

from starlette.types import ASGIApp, Receive, Scope, Send


class IgnoreRanges:
    """Middleware: a request for a part of a file gets all of it (RFC 9110, 14.2), as Starlette's errors are no problems."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [field for field in scope["headers"] if field[0] != b"range"]
        await self.app(scope, receive, send)
