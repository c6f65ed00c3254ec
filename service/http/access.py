"""API keys."""

import hmac
from collections.abc import Awaitable, Callable

from fastapi import Request

from service.http.problems import Problem


def require_key(keys: tuple[str, ...]) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass with one of `keys`, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.

    No keys: open to all. Raises Problem 401.
    """

    async def check(request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        # Every key is compared, each in constant time, so that the time taken tells nothing.
        matches = [hmac.compare_digest(given.encode("latin-1"), key.encode()) for key in keys]
        if keys and not any(matches):
            raise Problem(401, "a valid API key is needed", headers={"WWW-Authenticate": "Bearer"})

    return check
