"""Can a recipe learn one batch by heart? If not, something is wrong with it: with its labels, its rates or its network."""

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

LEARNED = 0.95  # share of the batch's pixels that must come out right


@dataclass(frozen=True)
class Overfit:
    """What became of one batch."""

    first_loss: float
    last_loss: float
    accuracy: float  # share of the pixels labelled right after the last step, 0..1

    @property
    def learned(self) -> bool:
        """Whether the batch is known by heart."""
        return self.accuracy >= LEARNED


def overfit(preset: Preset, dataset: Dataset, data: Path, init: Path | None, steps: int) -> Overfit:
    """Show the first batch of a preset `steps` times, at a constant rate and without dropout."""
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
    with torch.no_grad():  # in training mode: the statistics are this batch's own
        scores = learner.network(pixels.to(learner.world.device, torch.float32)).float().cpu()
    enlarged = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
    counted = labels != VOID
    accuracy = float((enlarged.argmax(1) == labels)[counted].float().mean())
    return Overfit(losses[0], losses[-1], accuracy)
