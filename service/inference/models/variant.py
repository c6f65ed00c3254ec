"""One file of a model, and the model that is loaded from it when first needed."""

import threading

from service.contract import ModelCard
from service.inference.files.model_file import InvalidModel, ModelFile, Stamp
from service.inference.models.model import Model
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import DeviceUnavailable, OpenSession, ReportedDevice, require_same_device
from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed

WAIT_S = 0.1  # between two looks at whether a request that waits for the model is cancelled
FAILED_RUNS = 3  # consecutive runs that fail for lack of memory, until the service reports that it is not ready


class Variant:
    """A model file, and the model loaded from it once needed. A request that holds the model keeps it until it is answered."""

    def __init__(self, file: ModelFile, stamp: Stamp, open_session: OpenSession) -> None:
        self.file, self.stamp, self._open_session = file, stamp, open_session
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._content: bytes | None = None  # once loaded: the file may have changed by the time the model is loaded again
        self._failures = 0
        self.runs_on: ReportedDevice | None = None  # set once the model has been loaded
        self.fault: str | None = None  # why the model does not run, once that is known

    @property
    def is_failing(self) -> bool:
        """Whether the last FAILED_RUNS runs all ran out of memory, although the session was opened anew each time."""
        return self._failures >= FAILED_RUNS

    @property
    def card(self) -> ModelCard:
        """The card of the file."""
        return self.file.card

    def model(self, cancellation: Cancellation | None = None, warm: bool = False) -> Model:
        """The model, loaded by the first call; `warm`: also warm it up then, which a request does not wait for.

        Raises Cancelled if `cancellation` is cancelled before the model has run a test image, UnreadableModel, and what
        `Model.load` raises: InvalidModel again at every call, but if these bytes have run before, RunFailed in place of
        InvalidModel, and OutOfDeviceMemory in place of DeviceUnavailable.
        """
        cancellation = cancellation or Cancellation()
        while not self._lock.acquire(timeout=WAIT_S):  # another request may be loading it
            cancellation.check()
        try:
            if self.fault is not None:
                raise InvalidModel(self.fault)
            if self._model is None:
                try:
                    self._content = self._content or self.file.content()
                    model = Model.load(self.file, self._content, self._open_session, cancellation)
                    if warm:
                        model.warm_up()
                except InvalidModel as error:
                    if self.runs_on is not None:  # these very bytes have run: the device is at fault
                        raise RunFailed(str(error)) from error
                    self.fault, self._content = str(error), None
                    raise
                except DeviceUnavailable as error:
                    if self.runs_on is not None:  # CUDA was available before, so its memory is full now
                        raise OutOfDeviceMemory(str(error)) from error
                    raise
                require_same_device(model.device, self.runs_on or model.device)
                self._model, self.runs_on = model, model.device
            return self._model
        finally:
            self._lock.release()

    def rest(self) -> None:
        """Drop the model until it is needed again; `runs_on` is kept."""
        with self._lock:
            self._model = None

    def unload(self) -> None:
        """Drop the model, as if it had never been loaded."""
        with self._lock:
            self._model = self.runs_on = self._content = None

    def succeeded(self) -> None:
        """Record that a run gave scores."""
        self._failures = 0

    def ran_out_of_memory(self, model: Model | None) -> None:
        """Record that running or loading `model` failed for lack of memory; the next run opens a new session."""
        with self._lock:
            if model is self._model:  # of several failed runs that shared a session, only the first counts
                self._failures += 1
                self._model = None
