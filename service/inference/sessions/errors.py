"""What ONNX Runtime reports: all of it as general failures, which only their texts tell apart."""

import re

_OUT_OF_MEMORY = re.compile(
    r"Failed to allocate memory|out of memory|OUT_OF_MEMORY|bad_alloc"
    r"|is smaller than requested bytes|Failed to find a free memory block"  # of an arena with a limit
    r"|_ALLOC_FAILED|_ALLOCATION_FAILED"  # cuBLAS; cuDNN 9
    r"|pthread_create failed|can't start new thread"  # of a process that may have no more; the second is Python's
)


class RunFailed(RuntimeError):
    """A run without usable scores: the graph cannot take this image, or gives no finite ones, or the device is broken."""


class OutOfDeviceMemory(MemoryError):
    """A run needed more memory than the device had left."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error, of ONNX Runtime or of Python, tells of too little memory, or of too many threads."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def first_line(error: Exception) -> str:
    """What an error says, without the stack that ONNX Runtime adds."""
    return (str(error).splitlines() or [type(error).__name__])[0]
