"""A preset's optimiser and its learning rate over time."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from training.networks.network import SegmentationNetwork
from training.presets.preset import AdamW, MomentumSGD, Preset


def create_optimizer(network: SegmentationNetwork, config: AdamW | MomentumSGD) -> torch.optim.Optimizer:
    """The optimiser of a preset over all weights that are not frozen; each group's `peak` is its highest learning rate."""
    backbone = {id(parameter) for parameter in network.backbone.parameters()}
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kernels = [p for p in learned if p.dim() > 1]
    vectors = [p for p in learned if p.dim() == 1]  # biases and normalisation
    if isinstance(config, MomentumSGD):
        groups = [
            {"params": kernels, "peak": config.learning_rate, "weight_decay": config.weight_decay},
            {"params": vectors, "peak": 2 * config.learning_rate, "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, foreach=True)
    groups = [
        {"params": [p for p in some if (id(p) in backbone) == pretrained], "peak": peak, "weight_decay": decay}
        for pretrained, peak in ((True, config.learning_rate), (False, config.head_learning_rate))
        for some, decay in ((kernels, config.weight_decay), (vectors, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def rate_at(epoch: float, preset: Preset) -> float:
    """Factor on the peak learning rate, 0..1: a linear warm-up, then constant or half a cosine down to zero.

    The cosine is that of Loshchilov & Hutter (2017, arXiv:1608.03983), without restarts.
    """
    if epoch < preset.warmup_epochs:
        return epoch / preset.warmup_epochs
    if preset.schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (epoch - preset.warmup_epochs) / (preset.epochs - preset.warmup_epochs))


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimiser state as named tensors, without pickle: `optimizer.<parameter number>.<key>`."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{number}.{key}": value for number, entry in state.items() for key, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state from `flatten_optimizer`; the options of the parameter groups stay as they are.

    Raises IndexError or ValueError if the tensors are of other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, key = rest.split(".")
            parameter = parameters[int(number)]
            if tensor.dim() and tensor.shape != parameter.shape:  # a number of steps fits all
                raise ValueError(f"{name} is {tuple(tensor.shape)} instead of {tuple(parameter.shape)}")
            # Copied, or the whole file would stay mapped into memory; in the parameter's memory layout, since a fused
            # optimiser walks through both side by side and ignores their strides.
            like = parameter.detach() if tensor.shape == parameter.shape else tensor
            state.setdefault(int(number), {})[key] = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
