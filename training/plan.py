"""How a step is carried out on this machine."""

from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What errors without a type of their own say: torch's and the C++ library's allocators, cuBLAS, cuDNN and the driver.
OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
ONEDNN = "could not create a primitive"  # all of what oneDNN says; a convolution that it does not know says more


@dataclass(frozen=True)
class Plan:
    """What costs memory or time and leaves the effective batch as it is.

    Smaller micro-batches and lower precision change rounding, and which images share a batch normalisation's
    statistics; recomputing changes nothing.
    """

    micro_batch: int  # crops in memory at a time; the gradients of a batch's parts are added up
    precision: Precision = "fp32"  # of activations; weights, their gradients and the loss stay fp32
    recompute: bool = False  # activations of the backbone's blocks anew in the backward pass: `training.networks.recompute`


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on whichever device: a CPU has no exception of its own for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and (str(error) == ONEDNN or any(text in str(error) for text in OUT_OF_MEMORY))
