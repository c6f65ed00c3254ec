"""The plan of a training step: how it is carried out on this machine."""

from dataclasses import dataclass
from typing import Literal

import torch

ActivationType = Literal["fp32", "bf16", "fp16"]  # `service.contract.Precision` is that of a model file
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """Choices that trade memory against time and leave the effective batch as it is.

    Smaller micro-batches and lower precision change the rounding. Smaller micro-batches also change which images share the
    statistics of batch normalisation. Recomputing changes no result.
    """

    micro_batch: int  # crops in memory at a time; the gradients of a batch's parts are added up
    precision: ActivationType = "fp32"  # of activations; weights, their gradients and the loss stay fp32
    recompute: bool = False  # activations again in the backward pass: see `training.networks.recompute`
