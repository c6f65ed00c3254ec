"""Looks at the models folder again and again."""

import logging
import threading

from service.inference.repository import Repository

STOP_S = 5.0

log = logging.getLogger(__name__)


class Watch:
    """A thread that lets a repository take over what has changed in its folder."""

    def __init__(self, repository: Repository, interval_s: float) -> None:
        self._repository, self._interval_s = repository, interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on, every `interval_s` seconds."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no other look; wait a little for one that is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _look(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._repository.refresh()
            except Exception:  # a folder that cannot be read just now is no reason to look no more
                log.exception("the models folder could not be taken over")
