"""Which errors mean that memory ran out."""

import numpy as np
import pytest
import torch

from training.machine import is_out_of_memory

TOO_MUCH = 2**46  # more bytes than a process can address


def test_what_torch_and_numpy_raise_where_there_is_no_such_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as from_torch:
        torch.empty(TOO_MUCH)
    with pytest.raises(MemoryError) as from_numpy:
        np.empty(TOO_MUCH)
    assert is_out_of_memory(from_torch.value)
    assert is_out_of_memory(from_numpy.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    ],
    ids=str,
)
def test_what_each_library_says_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_other_failures_are_none_of_memory() -> None:
    with pytest.raises(RuntimeError) as shapes:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(shapes.value)
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
