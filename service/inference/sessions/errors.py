"""Classifying errors of ONNX Runtime, which reports them all as general failures that differ only in their texts."""

import re

_OUT_OF_MEMORY = re.compile(
    r"Failed to allocate memory|out of memory|OUT_OF_MEMORY|bad_alloc"
    r"|is smaller than requested bytes|Failed to find a free memory block"  # of an arena with a limit
    r"|_ALLOC_FAILED|_ALLOCATION_FAILED"  # cuBLAS; cuDNN 9
    r"|pthread_create failed|can't start new thread"  # the process has reached its limit of threads; the second is Python's
)


class RunFailed(RuntimeError):
    """A run gave no usable scores: the graph cannot take the image, the scores are not finite, or the device is broken."""


class OutOfDeviceMemory(MemoryError):
    """A run or a session needed more memory than the device had left, or more threads than the process may have."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of ONNX Runtime or Python means too little memory or too many threads."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def first_line(error: Exception) -> str:
    """The first line of an error's message, without the stack that ONNX Runtime adds; else the name of its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]
