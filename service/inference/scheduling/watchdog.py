"""Sees a service that is up and can no longer compute, such as one whose CUDA context is lost."""

import logging
import threading
import time

from service.inference.models.model import Model
from service.inference.models.repository import Repository
from service.inference.models.variant import Variant
from service.inference.scheduling.engine import Engine
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.errors import OutOfDeviceMemory

QUIET_S = 60.0  # without a success, until a trial is made
CHECK_INTERVAL_S = 5.0  # between two checks
TRIAL_S = 30.0  # longest wait for a trial of each model
FAILED_TRIALS = 2  # in a row, until the service is declared dead

log = logging.getLogger(__name__)


class Watchdog:
    """Runs a tiny image when nothing has succeeded for a while: because nothing was asked for, or because all failed.

    A service with too much to do is not tried: it is not dead, and to restart it would make it worse. Work that goes on
    long after it was called off is death, though.
    """

    def __init__(self, repository: Repository, engine: Engine) -> None:
        self._repository, self._engine = repository, engine
        self._failures = 0
        self._last_trial = time.monotonic()
        self._trial = threading.Thread()  # the last one

    @property
    def alive(self) -> bool:
        """Whether the last trials did not all fail. Only reads: nothing is computed here."""
        return self._failures < FAILED_TRIALS

    def check(self) -> None:
        """Run a trial, if it is time to; call it every CHECK_INTERVAL_S seconds, from one thread."""
        if self._engine.last_success > self._last_trial:
            self._failures = 0
        if self._engine.has_hung(TRIAL_S):
            if self.alive:
                log.error("work does not end, though it was called off: /livez says so from now on")
            self._failures = FAILED_TRIALS
            return
        quiet = time.monotonic() - max(self._engine.last_success, self._last_trial)
        fails = self._engine.last_failure > self._engine.last_success
        if quiet >= QUIET_S and (fails or self._engine.admitted_megapixels == 0):
            self._try()
            self._last_trial = time.monotonic()

    def _try(self) -> None:
        """One run of the smallest image on each model; what does not end is called off, and counts as failed.

        Where one model runs, the device does: another that does not is no reason to restart the service.
        """
        models, cancellation = self._repository.models, Cancellation()
        outcomes: list[bool] = []

        def run() -> None:
            for name, served in models.items():
                outcomes.append(_runs(name, served.best, cancellation))

        if not self._trial.is_alive():  # else the last one hangs: no other is started on top of it
            self._trial = threading.Thread(target=run, name="trial", daemon=True)
            self._trial.start()
            self._trial.join(TRIAL_S * len(models))
        has_hung = len(outcomes) < len(models)
        cancellation.cancel()
        self._failures = self._failures + 1 if has_hung or (models and not any(outcomes)) else 0
        if self._failures == FAILED_TRIALS:
            log.error("%d trials in a row failed: /livez says so from now on", self._failures)


def _runs(name: str, variant: Variant, cancellation: Cancellation) -> bool:
    """Whether a model segments an image, or only lacks memory: others may hold it, which no restart would mend."""
    model: Model | None = None
    try:
        model = variant.model()
        model.run_smallest(cancellation)
        variant.succeeded()
    except OutOfDeviceMemory:
        variant.ran_out_of_memory(model)
    except Exception:  # whatever it is, it keeps images from being segmented
        log.exception("%s did not segment a trial image", name)
        return False
    return True
