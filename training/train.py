"""The trainer: one loop for every preset."""

import copy
import ctypes
import math
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from service.metrics import VOID, ConfusionMatrix
from training.data.augment import CropDataset, ResumableSampler
from training.data.datasets import DATASETS
from training.evaluate import evaluate, torch_scorer
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.presets import Preset
from training.run_folder import RunFolder, flatten_optimizer, load_weights, restore_optimizer, save_weights

CHECKPOINT_SECONDS = 120  # between two resume files


def train(preset: Preset, data: Path, out: Path, init: Path | None = None, workers: int = 1) -> float:
    """Train `preset` on the data set in folder `data`, recording everything in folder `out`.

    Run again after a kill, it continues from the last checkpoint to the same result. `init` gives weights
    (.safetensors) to start from instead of the backbone's ImageNet weights. Returns the best validation mean IoU.
    Raises ValueError if `out` holds a run of another configuration.
    """
    keep_freed_memory()
    run = RunFolder(out)
    run.freeze(preset, {"commit": current_commit(), "torch": torch.__version__, "machine": platform.processor()})
    dataset = DATASETS[preset.dataset]
    crops = CropDataset(dataset.train(data), preset.augmentation, preset.pad_value, preset.seed)
    steps_per_epoch = len(crops) // preset.batch
    learner = Learner.create(preset, len(dataset.classes), init)
    best = float("-inf")
    if run.resume.exists():
        best = learner.restore(run)
    sampler = ResumableSampler(len(crops), preset.batch, preset.epochs, preset.seed, learner.step)
    print(
        f"{preset.name}: {len(crops)} images, {preset.batch} crops of {preset.augmentation.crop} px a step, "
        f"{steps_per_epoch} steps an epoch, {preset.epochs} epochs, from step {learner.step}",
        flush=True,
    )
    loader = DataLoader(crops, batch_sampler=sampler, num_workers=workers, persistent_workers=False)
    bar = tqdm(loader, total=sampler.steps, initial=learner.step, unit="step", mininterval=5)
    saved, losses = time.monotonic(), list[Tensor]()
    for pixels, labels in bar:
        losses.append(learner.learn(pixels, labels, steps_per_epoch))
        bar.set_postfix(loss=f"{losses[-1]:.3f}", images_per_second=f"{preset.batch * (bar.format_dict['rate'] or 0):.1f}")
        epoch, position = divmod(learner.step, steps_per_epoch)
        if position == 0:
            confusion = validate(learner.averaged, preset, data)
            run.append_row(metrics_row(epoch - 1, torch.stack(losses).mean(), confusion, [c.name for c in dataset.classes]))
            bar.write(f"epoch {epoch}: loss {torch.stack(losses).mean():.4f}, val mean IoU {confusion.mean_iou:.4f}")
            losses.clear()
            described = {"preset": preset.name, "epoch": str(epoch), "val_mean_iou": str(confusion.mean_iou)}
            save_weights(run.last, learner.averaged.state_dict(), described)
            if confusion.mean_iou > best:
                best = confusion.mean_iou
                save_weights(run.best, learner.averaged.state_dict(), described)
        if position == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS:
            learner.save(run, best)
            saved = time.monotonic()
    return best


@dataclass
class Learner:
    """What changes from step to step."""

    preset: Preset
    network: FCN
    averaged: FCN  # exponential moving average of the network's weights
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def create(cls, preset: Preset, classes: int, init: Path | None) -> "Learner":
        torch.manual_seed(preset.seed)
        network = NETWORKS[preset.architecture](classes)
        if init is None:
            network.backbone.load_imagenet()
        else:
            weights, _ = load_weights(init)
            network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        network = network.to(memory_format=torch.channels_last)  # a third faster than NCHW for depthwise layers
        groups = [
            {"params": [p for p in module.parameters() if (p.dim() > 1) == decayed], "peak": peak, "weight_decay": decay}
            for module, peak in ((network.backbone, preset.learning_rate), (network.scores, preset.head_learning_rate))
            for decayed, decay in ((True, preset.weight_decay), (False, 0.0))
        ]
        optimizer = torch.optim.AdamW(groups, lr=preset.learning_rate, foreach=True)
        return cls(preset, network, copy.deepcopy(network).requires_grad_(False), optimizer)

    def learn(self, pixels: Tensor, labels: Tensor, steps_per_epoch: int) -> Tensor:
        """One step on a batch of (N, 3, H, W) uint8 pixels and (N, H, W) uint8 labels; returns its loss."""
        torch.manual_seed(self.preset.seed + 1_000_003 * (self.step + 1))  # dropout: the same after a resume
        rate = schedule(self.step / steps_per_epoch, self.preset.warmup_epochs, self.preset.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        self.network.train()
        scores = self.network(pixels.float().contiguous(memory_format=torch.channels_last))
        loss = pixel_loss(scores, labels.long())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        self._average()
        return loss.detach()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.preset.averaging, (1 + self.step) / (10 + self.step))  # follow closely at first
        for mean, value in zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True):
            mean.lerp_(value, 1 - decay) if mean.is_floating_point() else mean.copy_(value)

    def save(self, run: RunFolder, best: float) -> None:
        """Write all that the next step depends on."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
        save_weights(run.resume, tensors | flatten_optimizer(self.optimizer), {"step": str(self.step), "best": str(best)})

    def restore(self, run: RunFolder) -> float:
        """The inverse of `save`; returns the best mean IoU so far."""
        tensors, metadata = load_weights(run.resume)
        for name, module in (("network", self.network), ("averaged", self.averaged)):
            module.load_state_dict({k.removeprefix(name + "."): v for k, v in tensors.items() if k.startswith(name + ".")})
        restore_optimizer(self.optimizer, tensors)
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


def validate(network: FCN, preset: Preset, data: Path) -> ConfusionMatrix:
    """The confusion matrix of the preset's validation split."""
    dataset = DATASETS[preset.dataset]
    return evaluate(
        torch_scorer(network),
        dataset.val(data),
        len(dataset.classes),
        long_side=preset.long_side,
        pad_value=preset.pad_value,
        stride=network.stride,
        output_stride=network.output_stride,
    )


def metrics_row(epoch: int, loss: Tensor, confusion: ConfusionMatrix, classes: list[str]) -> dict[str, object]:
    """One line of the metrics table; epochs count from 0."""
    return {
        "epoch": epoch,
        "train_loss": f"{loss:.6f}",
        "val_mean_iou": f"{confusion.mean_iou:.6f}",
        "val_weighted_iou": f"{confusion.weighted_iou:.6f}",
        "val_pixel_accuracy": f"{confusion.pixel_accuracy:.6f}",
        "val_mean_class_accuracy": f"{confusion.mean_class_accuracy:.6f}",
        **{f"val_iou_{name}": f"{iou:.6f}" for name, iou in zip(classes, confusion.jaccard, strict=True)},
    }


def current_commit() -> str:
    """The commit of the code that runs, or "unknown" outside a checkout."""
    where = Path(__file__).parent
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: fresh pages for each step's activations cost 15 % of the time on a CPU."""
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
