"""Page-locked memory, which a GPU accesses directly: copies to and from it bypass the driver's own buffer."""

import ctypes
import logging
import weakref
from functools import cache

import numpy as np
import onnxruntime as ort
from numpy.typing import DTypeLike, NDArray

log = logging.getLogger(__name__)

_PORTABLE = 1  # cudaHostAllocPortable: page-locked for every CUDA context


def page_locked(size: int) -> NDArray[np.uint8]:
    """`size` bytes of page-locked memory; if CUDA provides none, ordinary memory, with a warning in the log."""
    cuda = _cuda_runtime()
    place = ctypes.c_void_p()
    if cuda is None or cuda.cudaHostAlloc(ctypes.byref(place), ctypes.c_size_t(size), _PORTABLE) or place.value is None:
        log.warning("no page-locked memory of %d bytes: copies to the GPU take longer", size)
        if cuda is not None:
            cuda.cudaGetLastError()  # clears the error, which the next check would take for its own
        return np.empty(size, np.uint8)
    memory = (ctypes.c_uint8 * size).from_address(place.value)
    # The arrays that view this memory keep `memory` alive; at the end of the process, nothing has to be freed.
    weakref.finalize(memory, cuda.cudaFreeHost, place).atexit = False
    return np.frombuffer(memoryview(memory), np.uint8)


class Buffer:
    """Reusable memory for one array at a time, as large as the largest array so far."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """An array in this memory, with values not set; it replaces the array returned before, which shares the memory."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > len(self._memory):
            self._memory = np.empty(0, np.uint8)  # frees the old memory first
            self._memory = page_locked(size)
        return self._memory[:size].view(dtype).reshape(shape)


@cache
def _cuda_runtime() -> ctypes.CDLL | None:
    """The CUDA runtime library, which ONNX Runtime's CUDA provider is linked with and has loaded; None if not found."""
    try:
        return ctypes.CDLL(f"libcudart.so.{ort.cuda_version.partition('.')[0]}")
    except OSError as error:
        log.warning("CUDA's runtime library is not found: %s", error)
        return None
