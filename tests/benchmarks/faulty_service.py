"""`python -m service` whose device can fail, for check_gpu.

SIGUSR1 loses its device for good: on a GPU a kernel writes to address 0, after which every CUDA call of the process returns
the same error (CUDA's documentation of CUDA_ERROR_ILLEGAL_ADDRESS). On the CPU each run of a session raises that error's text.
There, SEGMENT_GPU_MEMORY_BYTES limits the CPU's arena, so that memory runs out as it does on a GPU, by ONNX Runtime's own word.

python -m tests.benchmarks.faulty_service
"""

import ctypes
import os
import signal
import sys
from functools import cache
from types import FrameType

QUIET_S = 1.0  # of the watchdog, once the device is lost: someone waits for it
ILLEGAL_ADDRESS = 700  # CUDA_ERROR_ILLEGAL_ADDRESS
# Any driver that runs ONNX Runtime's CUDA 13 compiles this for its GPU.
PTX = b"""
.version 6.3
.target sm_75
.address_size 64
.visible .entry lose_context()
{
    .reg .b64 %address;
    .reg .b32 %value;
    mov.u64 %address, 0;
    mov.u32 %value, 0;
    st.global.u32 [%address], %value;
    ret;
}
"""


def on_cpu() -> bool:
    """Whether the CPU stands in for a GPU."""
    return os.environ.get("SEGMENT_DEVICE") == "cpu"


def lose_cuda_context() -> None:
    """Launch the kernel in the context that the CUDA runtime, and with it ONNX Runtime, uses: the device's primary one."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, module, kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()

    def call(name: str, *given: object) -> None:
        if status := getattr(cuda, name)(*given):
            raise RuntimeError(f"{name} returned {status}")

    call("cuInit", 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    call("cuCtxSetCurrent", context)
    call("cuModuleLoadData", ctypes.byref(module), PTX)
    call("cuModuleGetFunction", ctypes.byref(kernel), module, b"lose_context")
    call("cuLaunchKernel", kernel, *(1, 1, 1), *(1, 1, 1), 0, None, None, None)  # a grid of one block of one thread
    if (status := cuda.cuCtxSynchronize()) != ILLEGAL_ADDRESS:
        raise RuntimeError(f"the context is as it was: cuCtxSynchronize returned {status}")


def lose_device(_signal: int, _frame: FrameType | None) -> None:
    """From now on no session of this process runs."""
    import onnxruntime as ort

    from service.inference.scheduling import watchdog

    watchdog.QUIET_S = QUIET_S
    if not on_cpu():
        lose_cuda_context()
        return

    def run(*_: object) -> None:
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

    ort.InferenceSession.run = run


def limit_cpu_arena(limit: int) -> None:
    """Let all sessions of the CPU together allocate no more than `limit` bytes."""
    import onnxruntime as ort

    from service.inference.sessions import device

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": limit, "arena_extend_strategy": 1}))
    device._share_cpu_arena = cache(lambda: None)  # it is registered, and can be only once


def main() -> int:
    """Serve as `python -m service` does."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported
    from service.__main__ import main as serve

    if on_cpu() and (limit := os.environ.get("SEGMENT_GPU_MEMORY_BYTES")):
        limit_cpu_arena(int(limit))
    signal.signal(signal.SIGUSR1, lose_device)
    return serve()


if __name__ == "__main__":
    sys.exit(main())
