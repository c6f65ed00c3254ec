"""Detects a service that still answers but can no longer compute, for example because its CUDA context is lost."""

import logging
import threading
import time

from service.inference.models.model import TRIAL_S, Model
from service.inference.models.repository import Repository
from service.inference.models.variant import Variant
from service.inference.scheduling.engine import Engine
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.errors import OutOfDeviceMemory

QUIET_S = 60.0  # seconds without a success before a trial is run
CHECK_INTERVAL_S = 5.0  # seconds between two checks
HUNG_S = 30.0  # seconds; longest wait for cancelled work to end
FAILED_TRIALS = 2  # failed trials in a row before the service is declared dead

log = logging.getLogger(__name__)


class Watchdog:
    """Runs a tiny test image when no work has succeeded for a while, because there was none or because all of it failed.

    An overloaded service is not tested: it is not dead, and a restart would make the overload worse. But a service whose work
    goes on long after it was cancelled counts as dead.
    """

    def __init__(self, repository: Repository, engine: Engine) -> None:
        self._repository, self._engine = repository, engine
        self._failures = 0
        self._last_trial = time.monotonic()
        self._trial = threading.Thread()  # the thread of the last trial

    @property
    def alive(self) -> bool:
        """False after FAILED_TRIALS failed trials in a row, or if work has hung. Only reads a counter; computes nothing."""
        return self._failures < FAILED_TRIALS

    def check(self) -> None:
        """Run a trial if one is due. To be called every CHECK_INTERVAL_S seconds, from one thread."""
        if self._engine.has_hung(HUNG_S):
            if self.alive:
                log.error("work does not end, though it was cancelled: /livez says so from now on")
            self._failures = FAILED_TRIALS
            return
        if self._engine.last_success > self._last_trial:
            self._failures = 0
        quiet = time.monotonic() - max(self._engine.last_success, self._last_trial)
        fails = self._engine.last_failure > self._engine.last_success
        if quiet >= QUIET_S and (fails or self._engine.admitted_megapixels == 0):
            self._try()
            self._last_trial = time.monotonic()

    def _try(self) -> None:
        """Run the smallest image on each model; a trial that does not end in time is cancelled, and counts as failed.

        If at least one model runs, the device works: an error of another model is no reason to restart the service.
        """
        models, cancellation = self._repository.models, Cancellation()
        outcomes: list[bool] = []

        def run() -> None:
            for name, served in models.items():
                outcomes.append(_runs(name, served.preferred, cancellation))

        if not self._trial.is_alive():  # else the last trial hangs, and no second one is started beside it
            self._trial = threading.Thread(target=run, name="trial", daemon=True)
            self._trial.start()
            self._trial.join(TRIAL_S * len(models))
        has_hung = len(outcomes) < len(models)
        cancellation.cancel()
        self._failures = self._failures + 1 if has_hung or (models and not any(outcomes)) else 0
        if self._failures == FAILED_TRIALS:
            log.error("%d trials in a row failed: /livez says so from now on", self._failures)


def _runs(name: str, variant: Variant, cancellation: Cancellation) -> bool:
    """Whether a model segments an image or only lacks memory: others may hold the memory, and a restart would not help."""
    model: Model | None = None
    try:
        model = variant.model(cancellation)
        model.run_smallest(cancellation)
        variant.succeeded()
    except OutOfDeviceMemory:
        variant.ran_out_of_memory(model)
    except Exception:  # any error here means that images cannot be segmented
        log.exception("%s did not segment a trial image", name)
        return False
    return True
