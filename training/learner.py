"""One step of training, and the state that steps change."""

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from service.contract import ClassInfo
from training.errors import InputError
from training.files import load_weights, save_weights
from training.losses import SegmentationLoss
from training.machine import is_out_of_memory, release_freed_memory
from training.networks import NETWORKS
from training.networks.network import SegmentationNetwork
from training.networks.surgery import Transfer, transfer
from training.optimizer import create_optimizer, flatten_optimizer, rate_at, restore_optimizer
from training.parallel import World, synchronise
from training.plan import TYPES, Plan
from training.presets.preset import Preset
from training.run_folder import naming_resume
from training.start import start
from training.wording import counted


def create_network(preset: Preset, classes: int, plan: Plan) -> SegmentationNetwork:
    """The preset's network, prepared for training, with random weights, on torch's default device."""
    network = NETWORKS[preset.architecture](classes, preset.normalisation)
    if preset.frozen_stride:
        network.backbone.freeze(preset.frozen_stride)
    network.backbone.recompute = plan.recompute
    # Channels last: a third faster than NCHW for depthwise layers.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@dataclass
class Learner:
    """The state that changes from step to step."""

    preset: Preset
    network: SegmentationNetwork
    averaged: SegmentationNetwork  # exponential moving average of the network's weights
    optimizer: torch.optim.Optimizer
    loss: SegmentationLoss
    plan: Plan
    world: World
    parallel: SegmentationNetwork | DistributedDataParallel  # the network, its gradients shared between processes
    scaler: torch.amp.GradScaler  # keeps small fp16 gradients from vanishing; disabled otherwise
    copied: Transfer | None  # what came from the first weights' file; None: all drawn at random
    step: int = 0
    losses: list[Tensor] = field(default_factory=list)  # of the current epoch's steps so far
    # Buffers (batch normalisation statistics) before the step; allocated once, as many small allocations fragment the heap.
    before: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def create(
        cls, preset: Preset, classes: Sequence[ClassInfo], init: Path | None, loss: SegmentationLoss, plan: Plan, world: World
    ) -> Self:
        """A learner before its first step, with the weights that the preset names or those of the file `init`.

        Raises InputError if the file does not fit the network, or if it is None and the preset continues another one.
        """
        torch.manual_seed(preset.seed)
        network = create_network(preset, len(classes), plan)
        copied = start(network, preset.start, init, [entry.name for entry in classes])
        if world.is_main:
            print(f"weights from {init or preset.start}: {copied or 'drawn at random'}", flush=True)
        if world.size > 1:
            synchronise(network)
        network.to(world.device)
        return cls(
            preset=preset,
            network=network,
            averaged=copy.deepcopy(network).requires_grad_(False),
            optimizer=create_optimizer(network, preset.optimizer),
            loss=loss.to(world.device),
            plan=plan,
            world=world,
            parallel=DistributedDataParallel(network, forward_sync_buffers=False) if world.size > 1 else network,
            scaler=torch.amp.GradScaler(world.device.type, enabled=plan.precision == "fp16"),
            copied=copied,
        )

    def learn(self, pixels: Tensor, labels: Tensor, steps_per_epoch: int) -> Tensor:
        """Take one step on this process's part of a batch; appends the loss of the whole batch to `losses` and returns it.

        pixels (N, 3, H, W) uint8, labels (N, H, W) uint8. If memory runs out, the step is repeated with micro-batches of
        half the size; raises InputError if a micro-batch is one image already, or if several processes train together.
        """
        rate = rate_at(self.step / steps_per_epoch, self.preset)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        buffers = dict(self.network.named_buffers())
        self.before = self.before or {name: torch.empty_like(tensor) for name, tensor in buffers.items()}
        for name, tensor in buffers.items():
            self.before[name].copy_(tensor)
        while (loss := self._gradients(pixels, labels)) is None:
            for name, tensor in buffers.items():  # undo the failed attempt
                tensor.copy_(self.before[name])
        self.scaler.unscale_(self.optimizer)
        if self.preset.clip_norm is not None:
            clip_grad_norm_(self.network.parameters(), self.preset.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self._average()
        self.losses.append(loss)
        return loss

    def _gradients(self, pixels: Tensor, labels: Tensor) -> Tensor | None:
        """Compute a batch's gradients by micro-batches and return the loss; if memory runs out, halve the plan's micro-batch
        and return None.
        """
        try:
            return self._accumulate(pixels, labels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if self.plan.micro_batch == 1 or self.world.size > 1:
                crops = counted(self.plan.micro_batch, "crop")
                raise InputError(f"out of memory with {crops} at a time: {error}") from error
        # Past the except block: the error's traceback no longer holds the tensors that filled the memory.
        self.optimizer.zero_grad()
        if self.world.device.type == "cuda":
            torch.cuda.empty_cache()
        else:
            release_freed_memory()
        self.plan = replace(self.plan, micro_batch=-(-self.plan.micro_batch // 2))
        print(f"out of memory at step {self.step}: going on with micro-batches of {self.plan.micro_batch}", flush=True)
        return None

    def _accumulate(self, pixels: Tensor, labels: Tensor) -> Tensor:
        device = self.world.device
        torch.manual_seed(self.preset.seed + 1_000_003 * (self.step + 1) + self.world.rank)  # dropout: the same after a resume
        self.network.train()
        self.optimizer.zero_grad()
        targets = labels.to(device, torch.int64)
        total = self.world.total(self.loss.weight(targets)) if self.preset.loss.reduction == "mean" else torch.ones(())
        total = total.clamp(min=torch.finfo(torch.float32).tiny).to(device)  # all pixels of a batch may be void
        summed = torch.zeros((), device=device)
        size = self.plan.micro_batch
        parts = list(zip(torch.split(pixels, size), torch.split(targets, size), strict=True))
        for number, (part, target) in enumerate(parts, 1):
            exchange: AbstractContextManager[None] = nullcontext()
            if isinstance(self.parallel, DistributedDataParallel) and number < len(parts):
                exchange = self.parallel.no_sync()  # gradients are exchanged once per step
            with exchange:
                inputs = part.to(device, torch.float32, memory_format=torch.channels_last)
                lower = self.plan.precision != "fp32"
                with torch.autocast(device.type, TYPES[self.plan.precision] if lower else None, enabled=lower):
                    scores = self.parallel(inputs)
                # DistributedDataParallel averages gradients over processes, but their sum is needed.
                loss = self.loss(scores.float(), target, total, self.preset.batch) * self.world.size
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                summed += loss.detach()
        return self.world.total(summed) / self.world.size

    @torch.no_grad()
    def _average(self) -> None:
        # The average follows closely at first, as TensorFlow's ExponentialMovingAverage does with `num_updates`.
        decay = min(self.preset.averaging, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def save(self, path: Path, progress: Mapping[str, str]) -> None:
        """Write everything that the next step depends on, and the caller's `progress`, to a safetensors file."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= flatten_optimizer(self.optimizer) | {"losses": torch.tensor(self.losses)}
        mine = {"step": str(self.step), "micro_batch": str(self.plan.micro_batch)}
        mine["scaler"] = json.dumps(self.scaler.state_dict())
        save_weights(path, tensors, {**mine, **progress})

    def restore(self, path: Path) -> dict[str, str]:
        """Restore what `save` wrote to `path`; returns the caller's progress. Raises InputError if `path` is no such file."""
        with naming_resume(path):
            tensors, metadata = load_weights(path)
            self.step, micro_batch = int(metadata.pop("step")), int(metadata.pop("micro_batch"))
            self.scaler.load_state_dict(json.loads(metadata.pop("scaler")))
            for name, module in (("network", self.network), ("averaged", self.averaged)):
                transfer(module, {k.removeprefix(name + "."): v for k, v in tensors.items() if k.startswith(name + ".")})
            restore_optimizer(self.optimizer, tensors)
            self.losses = list(tensors["losses"].to(self.world.device, copy=True))  # copied as in `restore_optimizer`
        self.plan = replace(self.plan, micro_batch=min(self.plan.micro_batch, micro_batch))
        return metadata
