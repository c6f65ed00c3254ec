"""Requests for a part of a file."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class IgnoreRanges:
    """Middleware: a request for a part of a file gets all of it (RFC 9110, 14.2), as Starlette's errors are no problems."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "POST":
            await self.app(scope, receive, send)
            return
        scope["headers"] = [field for field in scope["headers"] if field[0] != b"range"]

        async def without_offer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [field for field in message["headers"] if field[0] != b"accept-ranges"]
            await send(message)

        await self.app(scope, receive, without_offer)
