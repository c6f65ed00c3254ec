"""Sees a service that is up and can no longer compute, such as one whose CUDA context is lost."""

import logging
import threading
import time

from service.inference.cancellation import Cancellation, OutOfDeviceMemory
from service.inference.engine import Engine
from service.inference.model import Model
from service.inference.repeated import Repeated
from service.inference.repository import Repository

QUIET_S = 60.0  # without a success, until a trial is made
INTERVAL_S = 5.0  # between looks
TRIAL_S = 30.0  # longest wait for a trial
FAILURES = 2  # in a row, until the service is declared dead

log = logging.getLogger(__name__)


class Watchdog(Repeated):
    """Runs a tiny image when nothing has succeeded for a while: because nothing was asked for, or because all failed.

    A service with too much to do is not tried: it is not dead, and to restart it would make it worse. Work that goes on
    long after it was called off is death, though.
    """

    def __init__(self, repository: Repository, engine: Engine) -> None:
        super().__init__("watchdog", INTERVAL_S)
        self._repository, self._engine = repository, engine
        self._failures = 0
        self._last_trial = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the last trials did not all fail. Only reads: nothing is computed here."""
        return self._failures < FAILURES

    def look(self) -> None:
        """Try, if it is time to."""
        if self._engine.last_success > self._last_trial:
            self._failures = 0
        if self._engine.has_hung(TRIAL_S):
            self._failures = FAILURES
            log.error("work does not end, though it was called off: /livez says so from now on")
            return
        quiet = time.monotonic() - max(self._engine.last_success, self._last_trial)
        fails = self._engine.last_failure > self._engine.last_success
        if quiet >= QUIET_S and (fails or self._engine.admitted_megapixels == 0):
            self._try()
            self._last_trial = time.monotonic()

    def _try(self) -> None:
        """One run of the smallest image; one that does not end is called off, and counts as failed."""
        cancellation, done = Cancellation(), threading.Event()

        def run() -> None:
            try:
                for served in self._repository.models.values():
                    variant = served.best
                    model: Model | None = None
                    try:
                        model = variant.model()
                        model.run(model.smallest_image, cancellation)
                        variant.succeeded()
                    except OutOfDeviceMemory:  # others may hold it: no reason to be restarted, but not to be ready
                        variant.ran_out_of_memory(model)
            except Exception:  # whatever it is, it keeps images from being segmented
                log.exception("a trial image was not segmented")
            else:
                done.set()

        trial = threading.Thread(target=run, name="trial", daemon=True)
        trial.start()
        trial.join(TRIAL_S)
        cancellation.cancel()
        self._failures = 0 if done.is_set() else self._failures + 1
        if not self.alive:
            log.error("%d trial images in a row were not segmented: /livez says so from now on", self._failures)
