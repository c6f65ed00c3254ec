"""A task that is done again and again, on a thread of its own."""

import logging
import threading
from collections.abc import Callable

STOP_S = 5.0  # longest wait for a task that is under way

log = logging.getLogger(__name__)


class PeriodicThread:
    """Does its task every `interval_s` seconds, from `start` to `stop`; it may be started again."""

    def __init__(self, name: str, interval_s: float, task: Callable[[], None]) -> None:
        self._name, self._interval_s, self._task = name, interval_s, task
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first time is after an interval."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._repeat, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Do it no more; wait a little if it is being done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _repeat(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._task()
            except Exception:  # one failure, at a folder that cannot be read just now, is no reason to end
                log.exception("%s: failed, and will be tried again", self._name)
