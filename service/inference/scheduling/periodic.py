"""A task that is run periodically on a thread of its own."""

import logging
import threading
from collections.abc import Callable

STOP_S = 5.0  # seconds; longest wait for a running task

log = logging.getLogger(__name__)


class PeriodicThread:
    """Runs its task with pauses of `interval_s` seconds, from `start` to `stop`."""

    def __init__(self, name: str, interval_s: float, task: Callable[[], None]) -> None:
        self._name, self._interval_s, self._task = name, interval_s, task
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; the task runs for the first time after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """Stop running the task; if it is running, wait for it at most STOP_S seconds."""
        self._stop.set()
        self._thread.join(STOP_S)

    def _repeat(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._task()
            except Exception:  # one failure, such as an unreadable folder, must not end the thread
                log.exception("%s: failed, and will be tried again", self._name)
