"""Gradient checkpointing: the backward pass computes activations again (Chen et al., 2016, arXiv:1604.06174)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, keeping only `x` for the backward pass."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _steady_statistics(block)

    result: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _steady_statistics(block: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch normalisation as they are: the forward pass has counted these images already."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d) and layer.training]
    counts = [layer.num_batches_tracked for layer in layers if layer.num_batches_tracked is not None]
    kept = [(layer.momentum, count.clone()) for layer, count in zip(layers, counts, strict=True)]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, count, (momentum, before) in zip(layers, counts, kept, strict=True):
            layer.momentum = momentum
            count.copy_(before)  # the tensor stays the same, since others hold it
