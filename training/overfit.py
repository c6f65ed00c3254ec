"""Tests whether a recipe can overfit one batch; if not, its labels, its learning rates or its network are wrong."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import default_collate
from tqdm import trange

from service.metrics import VOID
from training.data.batches import CropDataset
from training.data.dataset import Dataset
from training.learner import Learner
from training.losses import SegmentationLoss
from training.parallel import World
from training.plan import Plan
from training.presets.preset import Preset

LEARNED = 0.95  # share of the batch's labelled pixels that must be right


@dataclass(frozen=True)
class Overfit:
    """How well one batch was learned."""

    first_loss: float
    last_loss: float
    accuracy: float  # share of the labelled pixels that are right after the last step, 0..1

    @property
    def learned(self) -> bool:
        """Whether the accuracy reaches LEARNED."""
        return self.accuracy >= LEARNED


def overfit(preset: Preset, dataset: Dataset, data: Path, init: Path | None, steps: int) -> Overfit:
    """Train `steps` times on one batch, crops of the first images, at a constant learning rate and without dropout."""
    steady = replace(preset, schedule="constant", warmup_epochs=0.0, averaging=0.0)
    crops = CropDataset(dataset.train(data), preset.augmentation, preset.pad_value, preset.seed)
    pixels, labels = default_collate([crops[0, index % len(crops)] for index in range(preset.batch)])
    learner = Learner.create(
        steady, dataset.classes, init, SegmentationLoss(None, preset.loss.jaccard), Plan(preset.batch), World.alone()
    )
    for layer in learner.network.modules():
        if isinstance(layer, (nn.Dropout, nn.Dropout2d)):
            layer.p = 0.0
    losses = [float(learner.learn(pixels, labels, steps_per_epoch=steps)) for _ in trange(steps, unit="step")]
    with torch.no_grad():  # in training mode: normalised by this batch's statistics
        scores = learner.network(pixels.to(learner.world.device, torch.float32)).float().cpu()
    enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
    counted = labels != VOID
    accuracy = float((enlarged.argmax(1) == labels)[counted].float().mean())
    return Overfit(losses[0], losses[-1], accuracy)
