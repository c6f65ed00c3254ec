"""Facts and settings of the machine that the trainer runs on."""

import ctypes
import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # glibc's malloc.h

# Messages of errors without their own type: torch's and the C++ library's allocators, cuBLAS, cuDNN and the driver.
OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
ONEDNN = "could not create a primitive"  # oneDNN's whole message; for an unsupported convolution it is longer


def current_commit() -> str:
    """The commit of the running code, with "-dirty" if files differ from the commit, or "unknown" outside a checkout."""
    where = Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):  # git is missing or hangs
        return "unknown"
    return answer.stdout.strip() or "unknown"


def processor_name() -> str:
    """The processor's name according to the system, or else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: fresh pages for each step's activations cost 15 % of the time on a CPU.

    The process then takes up to half as much memory again: fragmentation leaves gaps that no later block fits into.
    """
    _set_malloc({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1})


def release_freed_memory() -> None:
    """Tell glibc to return freed memory, blocks of a megabyte or more immediately; also returns what is kept so far."""
    _set_malloc({M_MMAP_MAX: 2**16, M_TRIM_THRESHOLD: 2**20, M_MMAP_THRESHOLD: 2**20})


def _set_malloc(options: dict[int, int]) -> None:
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in options.items():
            libc.mallopt(option, value)
        libc.malloc_trim(0)


def peak_resident_memory() -> int:
    """Bytes of this process's largest resident set so far; on Linux from /proc, as `getrusage` includes the parent's."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not tell this process's peak memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out, on any device; for a CPU, torch has no exception type for that."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and (str(error) == ONEDNN or any(text in str(error) for text in OUT_OF_MEMORY))
