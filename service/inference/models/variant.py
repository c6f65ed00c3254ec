"""A model's file, and the model in it once someone needs it."""

import threading

from service.contract import ModelCard
from service.inference.files.model_file import InvalidModel, ModelFile, Stamp
from service.inference.models.model import Model
from service.inference.sessions.device import DeviceUnavailable, OpenSession, ReportedDevice, require_same_device
from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed

FAILED_RUNS = 3  # for want of memory, one after the other, until the service is not ready


class Variant:
    """A file, and the model in it once someone has needed it. Requests that hold it keep it until they are answered."""

    def __init__(self, file: ModelFile, stamp: Stamp, open_session: OpenSession) -> None:
        self.file, self.stamp, self._open_session = file, stamp, open_session
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._content: bytes | None = None  # once it is loaded: the file may be another by the time it is loaded again
        self._failures = 0
        self.runs_on: ReportedDevice | None = None  # once it is loaded
        self.fault: str | None = None  # why it does not run, once that is known

    @property
    def is_failing(self) -> bool:
        """Whether its last runs all found too little memory, though its session was opened anew each time."""
        return self._failures >= FAILED_RUNS

    @property
    def card(self) -> ModelCard:
        """What the file says of itself."""
        return self.file.card

    def model(self, warm: bool = False) -> Model:
        """Load it, once; `warm`: and warm it up, for which a request does not wait.

        Raises what `Model.load` does, an InvalidModel again each time, or RunFailed instead if it has run before; and
        UnreadableModel.
        """
        with self._lock:
            if self.fault is not None:
                raise InvalidModel(self.fault)
            if self._model is None:
                try:
                    self._content = self._content or self.file.content()
                    model = Model.load(self.file, self._content, self._open_session)
                    if warm:
                        model.warm_up()
                except InvalidModel as error:
                    if self.runs_on is not None:  # these very bytes have run: the device is at fault
                        raise RunFailed(str(error)) from error
                    self.fault, self._content = str(error), None
                    raise
                except DeviceUnavailable as error:
                    if self.runs_on is not None:  # it could be had, and is full: as above, but where the CPU is no choice
                        raise OutOfDeviceMemory(str(error)) from error
                    raise
                require_same_device(model.device, self.runs_on or model.device)
                self._model, self.runs_on = model, model.device
            return self._model

    def rest(self) -> None:
        """Let go of the model until it is needed; where it runs is known."""
        with self._lock:
            self._model = None

    def unload(self) -> None:
        """Let go of the model, as if it had never been loaded."""
        with self._lock:
            self._model = self.runs_on = self._content = None

    def succeeded(self) -> None:
        """A run gave scores."""
        self._failures = 0

    def ran_out_of_memory(self, model: Model | None) -> None:
        """A run of `model`, or its loading, did not, for want of memory: the next opens a session anew."""
        with self._lock:
            if model is self._model:  # of several that share a session the first one speaks for all
                self._failures += 1
                self._model = None
