"""Waiting for what other threads are about to do."""

import time
from collections.abc import Callable

from tests.service.helpers.live import PATIENCE_S


def wait_until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait for something that is about to happen."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
