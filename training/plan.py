"""How a step is carried out on this machine."""

from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """What costs memory or time and leaves the effective batch as it is.

    Smaller micro-batches and lower precision change rounding, and which images share a batch normalisation's
    statistics; recomputing changes nothing.
    """

    micro_batch: int  # crops in memory at a time; the gradients of a batch's parts are added up
    precision: Precision = "fp32"  # of activations; weights, their gradients and the loss stay fp32
    recompute: bool = (
        False  # activations of the backbone's blocks anew in the backward pass (Chen et al., 2016, arXiv:1604.06174)
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, on whichever device: a CPU has no exception of its own for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in ("can't allocate memory", "bad_alloc"))
