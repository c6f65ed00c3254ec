"""One step of training, and the state that steps change."""

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from service.metrics import VOID
from training.checkpoint import fill
from training.errors import InputError
from training.machine import training_device
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.presets import Preset
from training.run_folder import RunFolder, flatten_optimizer, load_weights, restore_optimizer, save_weights


@dataclass
class Learner:
    """What changes from step to step."""

    preset: Preset
    network: FCN
    averaged: FCN  # exponential moving average of the network's weights
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[Tensor] = field(default_factory=list)  # of the steps of the epoch so far

    @classmethod
    def create(cls, preset: Preset, classes: int, init: Path | None) -> Self:
        """A network before its first step: with the backbone's ImageNet weights, or with those of the file `init`.

        Raises InputError if the file does not fit the network, or if there is none and the preset continues another.
        """
        if init is None and preset.continues is not None:
            raise InputError(f"{preset.name} continues {preset.continues}: give its weights with --init")
        torch.manual_seed(preset.seed)
        network = NETWORKS[preset.architecture](classes)
        if init is None:
            network.backbone.load_imagenet()
        else:
            fill(network, init)
        if preset.frozen_stride:
            network.backbone.freeze(preset.frozen_stride)
        # Channels last: a third faster than NCHW for depthwise layers.
        network.to(training_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = [
            {
                "params": [p for p in module.parameters() if p.requires_grad and (p.dim() > 1) == decayed],
                "peak": peak,
                "weight_decay": decay,
            }
            for module, peak in ((network.backbone, preset.learning_rate), (network.scores, preset.head_learning_rate))
            for decayed, decay in ((True, preset.weight_decay), (False, 0.0))
        ]
        optimizer = torch.optim.AdamW(groups, lr=preset.learning_rate, foreach=True)
        return cls(preset, network, copy.deepcopy(network).requires_grad_(False), optimizer)

    def learn(self, pixels: Tensor, labels: Tensor, steps_per_epoch: int) -> Tensor:
        """One step on a batch of (N, 3, H, W) uint8 pixels and (N, H, W) uint8 labels; returns its loss, and notes it."""
        torch.manual_seed(self.preset.seed + 1_000_003 * (self.step + 1))  # dropout: the same after a resume
        rate = schedule(self.step / steps_per_epoch, self.preset.warmup_epochs, self.preset.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        self.network.train()
        device = next(self.network.parameters()).device
        pixels = pixels.to(device, torch.float32, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):  # few CPUs gain from bf16
            scores = self.network(pixels)
        loss = pixel_loss(scores.float(), labels.to(device, torch.int64))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        self._average()
        self.losses.append(loss.detach().cpu())
        return self.losses[-1]

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.preset.averaging, (1 + self.step) / (10 + self.step))  # follow closely at first
        for mean, value in zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def save(self, run: RunFolder, best: float) -> None:
        """Write all that the next step depends on."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= flatten_optimizer(self.optimizer) | {f"loss.{n}": loss for n, loss in enumerate(self.losses)}
        save_weights(run.resume, tensors, {"step": str(self.step), "best": str(best)})

    def restore(self, run: RunFolder) -> float:
        """The inverse of `save`; returns the best mean IoU so far."""
        tensors, metadata = load_weights(run.resume)
        for name, module in (("network", self.network), ("averaged", self.averaged)):
            module.load_state_dict({k.removeprefix(name + "."): v for k, v in tensors.items() if k.startswith(name + ".")})
        restore_optimizer(self.optimizer, tensors)
        self.losses = [tensors[f"loss.{n}"] for n in range(sum(name.startswith("loss.") for name in tensors))]
        self.step = int(metadata["step"])
        return float(metadata["best"])


def pixel_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not VOID, at the labels' size; 0 if there is none.

    scores (N, C, h, w) float, labels (N, H, W) int64.
    """
    enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(enlarged, labels, ignore_index=VOID, reduction="sum")
    return total / (labels != VOID).sum().clamp(min=1)


def schedule(epoch: float, warmup: float, epochs: float) -> float:
    """Share of the peak learning rate, 0..1: linear rise over `warmup` epochs, then a half cosine to zero."""
    if epoch < warmup:
        return epoch / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (epoch - warmup) / (epochs - warmup))
