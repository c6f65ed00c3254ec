"""Trials of model files in processes of their own: some graphs end the process that loads or runs them.

`python -m service.inference.models.trial PARENT PATH SHA256 DEVICE [GPU_MEMORY_BYTES]` loads the file as the service does, and
prints what came of it; PARENT is the id of the process that asks.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import service
from service.inference.files.model_file import InvalidModel, ModelFile, Stamp, UnreadableModel
from service.inference.models import model
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import DeviceUnavailable, create_session
from service.inference.sessions.errors import OutOfDeviceMemory, first_line
from service.settings import Device

PAUSE_S = 60.0  # between the first two trials of a file for which memory was short; each further pause is twice as long
ROOT = Path(service.__file__).parents[1]
OOM_SCORE = Path("/proc/self/oom_score_adj")
PR_SET_PDEATHSIG = 1  # Linux: which signal a process gets when the thread that started it ends
STOPPED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)  # by others
# What a trial prints, with a reason after it. A process that prints none of these has not come to its end.
RUNS, INVALID, UNREADABLE, LACKS_MEMORY, LACKS_DEVICE = "runs", "invalid", "unreadable", "lacks memory", "lacks the device"


class Trials:
    """Trials for one device. A file that has run is not tried out again; one that lacked memory is, after a pause."""

    def __init__(self, device: Device, gpu_memory_bytes: int | None) -> None:
        self._try_out = partial(try_out, device=device, gpu_memory_bytes=gpu_memory_bytes)
        self._survivors: set[Stamp] = set()
        self._pauses: dict[Stamp, tuple[float, float]] = {}  # when the next trial may be, and the pause after it, in seconds

    def require_no_pause(self, stamp: Stamp) -> None:
        """Raises OutOfDeviceMemory while the next trial of a file is to wait; the file need not be read then."""
        earliest, _ = self._pauses.get(stamp, (0.0, PAUSE_S))
        if time.monotonic() < earliest:
            raise OutOfDeviceMemory("memory was short when it was tried out")

    def require(self, file: ModelFile, stamp: Stamp) -> None:
        """Raises what `try_out` raises, unless the file has run before."""
        if stamp in self._survivors:
            return
        try:
            self._try_out(file)
        except (OutOfDeviceMemory, DeviceUnavailable):  # a GPU without free memory cannot be opened by another process
            _, pause = self._pauses.get(stamp, (0.0, PAUSE_S))
            self._pauses[stamp] = time.monotonic() + pause, 2 * pause
            raise
        self._survivors.add(stamp)


def try_out(file: ModelFile, device: Device, gpu_memory_bytes: int | None) -> None:
    """Load a file in a process of its own, which runs its test images.

    Raises InvalidModel and OutOfDeviceMemory as `Model.load` does; InvalidModel also if that ends the process or takes longer
    than 2 TRIAL_S, and OutOfDeviceMemory if the process is killed; DeviceUnavailable if it lacks the device, also where others
    have filled the memory of a GPU; UnreadableModel if the file cannot be tried out just now.
    """
    seconds = 2 * model.TRIAL_S
    limit = [] if gpu_memory_bytes is None else [str(gpu_memory_bytes)]
    command = [sys.executable, "-m", __name__, str(os.getpid()), str(file.path.absolute()), file.sha256, device, *limit]
    try:
        tried = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise InvalidModel(f"to load it and to run test images takes longer than {seconds:g} s") from error
    except OSError as error:  # no process can be started
        raise UnreadableModel(f"it cannot be tried out: {error.strerror}; that is tried again") from error
    outcome, _, reason = tried.stdout.decode("utf-8", "replace").partition(": ")
    if outcome == INVALID:
        raise InvalidModel(reason)
    if outcome == UNREADABLE:
        raise UnreadableModel(reason)
    if outcome == LACKS_MEMORY or tried.returncode == -signal.SIGKILL:
        raise OutOfDeviceMemory(reason or "the process that tries it out was killed, as when memory runs out")
    if outcome == LACKS_DEVICE:
        raise DeviceUnavailable(reason)
    if outcome == RUNS:
        return
    if tried.returncode < 0 and -tried.returncode not in STOPPED:
        raise InvalidModel(f"it ends the process that tries it out: {_signal_name(-tried.returncode)}")
    last = tried.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise UnreadableModel(f"it cannot be tried out: {last or f'status {tried.returncode}'}; that is tried again")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # Python names few of the real-time signals
        return f"signal {number}"


def main(parent: str, path: str, sha256: str, device: Device, gpu_memory_bytes: str | None = None) -> None:
    """Load the model in the file, which runs its test images; print what came of it, and end this process."""
    if sys.platform == "linux":  # so that it does not outlive the service
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the service has ended")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # where memory runs out, Linux is to end this process, and not the service
        OOM_SCORE.write_text("1000")
    memory = None if gpu_memory_bytes is None else int(gpu_memory_bytes)
    outcome, reason = RUNS, ""
    try:
        file = ModelFile.read(Path(path))
        if file.sha256 != sha256:
            sys.exit("it was written to meanwhile")
        model.Model.load(file, file.content(), partial(create_session, device=device, gpu_memory_bytes=memory), Cancellation())
    except InvalidModel as error:
        outcome, reason = INVALID, str(error)
    except UnreadableModel as error:  # the file may have been renamed meanwhile, or memory is short
        outcome, reason = LACKS_MEMORY if isinstance(error.__cause__, MemoryError) else UNREADABLE, str(error)
    except MemoryError as error:
        outcome, reason = LACKS_MEMORY, first_line(error)
    except DeviceUnavailable as error:
        outcome, reason = LACKS_DEVICE, first_line(error)
    sys.stdout.buffer.write(f"{outcome}: {reason}".encode("utf-8", "replace"))
    sys.stdout.flush()
    os._exit(0)  # an ordinary exit would also try out how ONNX Runtime ends


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # the device is one: see `try_out`
