"""Detects clients that do not read their answers."""

import asyncio
from collections.abc import Callable

from service.http.uploads import SLOWEST_BYTES_PER_S

WRITE_CHECK_S = 30.0  # between two checks of how much a client has read


class UnsentWatch:
    """Detects when a client reads the data that waits to be sent on its connection too slowly."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, too_slow: Callable[[], None]) -> None:
        """`too_slow` is called when the client has read less than SLOWEST_BYTES_PER_S on average since the last check."""
        self._transport, self._loop, self._too_slow = transport, loop, too_slow
        self._timer: asyncio.TimerHandle | None = None
        self._was_drained = False  # since the last check

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait to be sent."""
        return self._transport.get_write_buffer_size()

    def start(self) -> None:
        """Watch until everything is sent. Call this when writing is paused, and after it, when data may be waiting."""
        if self._timer is not None:
            self._was_drained = True  # what waits was written since the last check: Uvicorn writes only if little waits
        elif self.unsent_bytes:
            self._was_drained = False
            self._timer = self._loop.call_later(WRITE_CHECK_S, self._check_rate, self.unsent_bytes)

    def drained(self) -> None:
        """Note that the client has read almost everything: data that waits at the next check was written later."""
        self._was_drained = True

    def stop(self) -> None:
        """Stop watching. Call this when the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()

    def _check_rate(self, before: int) -> None:
        self._timer = None
        read_little = not self._was_drained and before - self.unsent_bytes < SLOWEST_BYTES_PER_S * WRITE_CHECK_S
        if self.unsent_bytes and read_little:
            self._too_slow()
        else:
            self.start()
