"""API keys."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.http.problems import Problem

_BEARER = HTTPBearer(auto_error=False, description="one of SEGMENT_API_KEYS")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False)


def require_key(keys: tuple[str, ...]) -> Callable[..., Awaitable[None]]:
    """A dependency that lets a request pass with one of `keys`, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.

    For any other request it raises Problem 401.
    """

    async def check(
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
        header: Annotated[str | None, Depends(_HEADER)],
    ) -> None:
        given = bearer.credentials if bearer else header or ""
        # Every key is compared, each in constant time, so that the time taken reveals nothing.
        matches = [hmac.compare_digest(given.encode("latin-1"), key.encode()) for key in keys]
        if not any(matches):
            raise Problem(401, "a valid API key is needed", headers={"WWW-Authenticate": "Bearer"})

    return check
