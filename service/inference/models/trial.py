"""A trial of a model file in a process of its own: some graphs end the process that loads or runs them.

`python -m service.inference.models.trial SECONDS PATH SHA256 DEVICE [GPU_MEMORY_BYTES]` loads the file as the service does.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import service
from service.inference.files.model_file import InvalidModel, ModelFile, UnreadableModel
from service.inference.models import model
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import DeviceUnavailable, create_session
from service.inference.sessions.errors import OutOfDeviceMemory
from service.settings import Device

INVALID = 3  # exit status if the file is at fault, for the reason that is printed; Python itself ends with 1 or 2
ROOT = Path(service.__file__).parents[1]
OOM_SCORE = Path("/proc/self/oom_score_adj")
PR_SET_PDEATHSIG = 1  # Linux: which signal a process gets when the thread that started it ends


def try_out_in_own_process(file: ModelFile, device: Device, gpu_memory_bytes: int | None = None) -> None:
    """Try out a file in a process of its own.

    Raises InvalidModel as `Model.load` does, and if that ends the process or takes longer than 2 TRIAL_S; UnreadableModel if it
    cannot be tried out just now. If that process lacks memory or the device, nothing is raised: `Model.load` in this process
    finds that out itself.
    """
    seconds = 2 * model.TRIAL_S
    limit = [] if gpu_memory_bytes is None else [str(gpu_memory_bytes)]
    command = [sys.executable, "-m", __name__, str(seconds), str(file.path.absolute()), file.sha256, device, *limit]
    try:
        tried = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:  # no process can be started
        raise UnreadableModel(f"it cannot be tried out: {error.strerror}; that is tried again") from error
    if tried.returncode == INVALID:
        raise InvalidModel(tried.stdout.decode())
    if tried.returncode == -signal.SIGALRM:
        raise InvalidModel(f"to load it and to run test images takes longer than {seconds:g} s")
    if tried.returncode < 0:
        why = ", as when memory runs out" if tried.returncode == -signal.SIGKILL else ""
        raise InvalidModel(f"it ends the process that tries it out: {signal.Signals(-tried.returncode).name}{why}")
    if tried.returncode > 0:
        last = tried.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise UnreadableModel(f"it cannot be tried out: {last}; that is tried again")


def main(seconds: str, path: str, sha256: str, device: Device, gpu_memory_bytes: str | None = None) -> None:
    """Load the model in the file, which runs its test images, and end this process; after so many seconds a signal ends it."""
    if sys.platform == "linux":  # so that it does not outlive the service
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.setitimer(signal.ITIMER_REAL, float(seconds))  # SIGALRM ends the process even in native code
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # where memory runs out, Linux is to end this process, and not the service
        OOM_SCORE.write_text("1000")
    memory = None if gpu_memory_bytes is None else int(gpu_memory_bytes)
    try:
        file = ModelFile.read(Path(path))
        if file.sha256 != sha256:
            sys.exit("it was written to meanwhile")
        model.Model.load(file, file.content(), partial(create_session, device=device, gpu_memory_bytes=memory), Cancellation())
    except InvalidModel as error:
        print(error, end="", flush=True)
        os._exit(INVALID)
    except (OutOfDeviceMemory, DeviceUnavailable):
        pass
    os._exit(0)  # an ordinary exit would also try out how ONNX Runtime ends


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # the device is one: see `try_out_in_own_process`
