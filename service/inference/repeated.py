"""Looking at something again and again, on a thread of its own."""

import logging
import threading
from abc import ABC, abstractmethod

STOP_S = 5.0  # longest wait for a look that is under way

log = logging.getLogger(__name__)


class Repeated(ABC):
    """Looks every `interval_s` seconds, from `start` to `stop`; it may be started again."""

    def __init__(self, name: str, interval_s: float) -> None:
        self._name, self._interval_s = name, interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def look(self) -> None:
        """Look once."""

    def start(self) -> None:
        """Look from now on."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._repeat, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no other look; wait a little for one that is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _repeat(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.look()
            except Exception:  # one look that fails, at a folder that cannot be read just now, is no reason to look no more
                log.exception("%s: a look failed", self._name)
