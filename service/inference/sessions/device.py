"""Opening sessions on an execution provider; the device reported is the one that the session names, never the one requested."""

import ctypes
import logging
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal, Protocol

import onnxruntime as ort

from service.contract import Precision
from service.inference.sessions.errors import OutOfDeviceMemory, first_line, is_out_of_memory
from service.process import usable_cpus
from service.settings import Device

log = logging.getLogger(__name__)

ReportedDevice = Literal["cpu", "cuda"]
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
ARENAS: dict[ReportedDevice, str] = {"cpu": "cpu:0", "cuda": "cpu:0;gpu:0"}  # arenas that a session allocates from
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # the default tries every algorithm for every new shape
    "arena_extend_strategy": "kSameAsRequested",  # the default doubles the arena, and never shrinks it
}
NO_LIMIT = (1 << 64) - 1  # bytes
FATAL = 4  # severity in ONNX Runtime's log


class OpenSession(Protocol):
    """Opens a session for an ONNX file's bytes: `create_session` with the operator's device and memory limit filled in."""

    def __call__(self, model: bytes, *, threads: int | None = None, precision: Precision = "fp32") -> ort.InferenceSession: ...


class DeviceUnavailable(RuntimeError):
    """The requested device is not available."""


def may_use_cuda(device: Device) -> bool:
    """Whether a session with this setting tries CUDA; only the session shows whether CUDA is in use (`reported_device`)."""
    return device != "cpu" and CUDA in ort.get_available_providers()


def cuda_options(precision: Precision) -> dict[str, str]:
    """Options of the CUDA provider for a file of that precision.

    TF32 is off for fp32, so that the scores equal the CPU's. TF32 is on for fp16, although it does not change fp16 results:
    with TF32 off, ONNX Runtime first looks for convolutions without tensor cores, and logs an error for each it does not find.
    """
    return CUDA_OPTIONS | {"use_tf32": "1" if precision == "fp16" else "0"}


def create_session(
    model: bytes,
    device: Device,
    threads: int | None = None,
    gpu_memory_bytes: int | None = None,
    precision: Precision = "fp32",
) -> ort.InferenceSession:
    """Open a session for the bytes of an ONNX file.

    `threads`: CPU threads of the session; by default as many as there are usable cores.
    `gpu_memory_bytes`: most GPU memory that the session allocates for weights and activations; by default no limit.
    `precision`: of the file; decides whether a GPU may round to TF32.
    Raises DeviceUnavailable if `device` is "cuda" and the session is not on CUDA, OutOfDeviceMemory, and whatever ONNX Runtime
    raises for a file that it cannot run.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cpus()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads would cost a core: bench_idle
    options.enable_mem_pattern = False  # it would keep a memory plan for every image size ever seen
    if not may_use_cuda(device):
        if device == "cuda":
            has = ", ".join(ort.get_available_providers())
            raise DeviceUnavailable(f"SEGMENT_DEVICE=cuda, but this onnxruntime has only {has}: install the gpu extra")
        _share_cpu_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        return _open(model, options, [CPU])
    ort.preload_dlls()  # CUDA and cuDNN from their wheels; without them, the session falls back to the CPU silently
    limit = {} if gpu_memory_bytes is None else {"gpu_mem_limit": str(gpu_memory_bytes)}
    session = _open(model, options, [(CUDA, cuda_options(precision) | limit), CPU])
    session.disable_fallback()  # else a run that fails would continue on the CPU unnoticed
    if reported_device(session) != "cuda":
        reason = why_no_cuda()
        if device == "cuda":
            raise DeviceUnavailable(f"SEGMENT_DEVICE=cuda, but ONNX Runtime could not start CUDA: {reason}")
        log.warning("ONNX Runtime could not start CUDA, this model runs on the CPU: %s", reason)
    else:
        # If cuDNN lacks one kind of plan, ONNX Runtime logs an error and uses another kind. A run that fails still raises.
        ort.set_default_logger_severity(FATAL)
    return session


def _open(
    model: bytes, options: ort.SessionOptions, providers: Sequence[str | tuple[str, dict[str, str]]]
) -> ort.InferenceSession:
    try:
        # ONNX Runtime's own fallback to the CPU, which prints the failure, is only of use if there is another provider.
        return ort.InferenceSession(model, options, providers=providers, enable_fallback=len(providers) > 1)
    except Exception as error:  # errors have no common type, as in `Cancellation.run_options`
        if is_out_of_memory(error):
            raise OutOfDeviceMemory(first_line(error)) from error
        raise


@cache
def _share_cpu_arena() -> None:
    """Let all sessions allocate from one CPU arena, where CUDA is not used.

    With an arena of its own, each session would keep its own peak in memory, although few sessions run at once.
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({}))


def why_no_cuda() -> str:
    """The reason why the CUDA provider does not load, such as a missing library; ONNX Runtime only logs the reason."""
    provider = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(provider))
    except OSError as error:
        return str(error)
    return "its libraries load, so it may be the driver or the device: see its message above"


def require_one_runtime(path: Sequence[str] = sys.path) -> None:
    """Raises DeviceUnavailable if both wheels of ONNX Runtime are installed on `path`: they overwrite each other's files."""
    wheels = [name for name in ("onnxruntime", "onnxruntime-gpu") if any(distributions(name=name, path=list(path)))]
    if len(wheels) > 1:
        raise DeviceUnavailable(f"{' and '.join(wheels)} are both installed: uninstall both, then install one")


def has_memory_limit(session: ort.InferenceSession) -> bool:
    """Whether the session has a limit for its GPU memory."""
    return int(session.get_provider_options().get(CUDA, {}).get("gpu_mem_limit", NO_LIMIT)) < NO_LIMIT


def require_same_device(later: ReportedDevice, first: ReportedDevice) -> None:
    """Raises OutOfDeviceMemory if a later session of a model is not on the device of the model's first session."""
    if later != first:
        raise OutOfDeviceMemory(f"a further session fell back from {first}")


def reported_device(session: ort.InferenceSession) -> ReportedDevice:
    """The device that a session runs on, as the session reports it."""
    return "cuda" if CUDA in session.get_providers() else "cpu"
