"""The plan of a training step: how it is carried out on this machine."""

from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Messages of errors without their own type: torch's and the C++ library's allocators, cuBLAS, cuDNN and the driver.
OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
ONEDNN = "could not create a primitive"  # oneDNN's whole message; for an unsupported convolution it is longer


@dataclass(frozen=True)
class Plan:
    """Choices that trade memory against time and leave the effective batch as it is.

    Smaller micro-batches and lower precision change the rounding. Smaller micro-batches also change which images share the
    statistics of batch normalisation. Recomputing changes no result.
    """

    micro_batch: int  # crops in memory at a time; the gradients of a batch's parts are added up
    precision: Precision = "fp32"  # of activations; weights, their gradients and the loss stay fp32
    recompute: bool = False  # activations again in the backward pass: see `training.networks.recompute`


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out, on any device; for a CPU, torch has no exception type for that."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and (str(error) == ONEDNN or any(text in str(error) for text in OUT_OF_MEMORY))
