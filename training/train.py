"""The trainer: one loop for every preset."""

import platform
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from service.contract import ClassInfo
from service.metrics import ConfusionMatrix
from training.curves import curves
from training.data.batches import CropDataset, ResumableSampler
from training.data.datasets import DATASETS
from training.evaluate import evaluate, torch_segmenter
from training.learner import Learner
from training.machine import current_commit, keep_freed_memory
from training.pictures import examine, panel
from training.presets import Preset
from training.run_folder import RunFolder, save_weights, write_atomically

CHECKPOINT_SECONDS = 120  # between two resume files
SAMPLES = 8  # validation images in the run's sample picture


def train(preset: Preset, data: Path, out: Path, init: Path | None = None, workers: int = 1) -> float:
    """Train `preset` on the data set in folder `data`, recording everything in folder `out`.

    Run again after a kill, it continues from the last checkpoint to the same result. `init` gives weights
    (.safetensors) to start from instead of the backbone's ImageNet weights. Returns the best validation mean IoU.
    Raises InputError if `out` holds a run of another configuration, FileNotFoundError if `data` is no such data set.
    """
    keep_freed_memory()
    dataset = DATASETS[preset.dataset]
    crops = CropDataset(dataset.train(data), preset.augmentation, preset.pad_value, preset.seed)
    learner = Learner.create(preset, len(dataset.classes), init)
    run = RunFolder(out)
    run.freeze(preset, {"commit": current_commit(), "torch": torch.__version__, "machine": platform.machine()})
    _, commit = run.frozen()  # a resumed run stays that of the code it was begun with
    best = learner.restore(run) if run.resume.exists() else float("-inf")
    sampler = ResumableSampler(len(crops), preset.batch, preset.epochs, preset.seed, learner.step)
    print(
        f"{preset.name}: {len(crops)} images, {preset.batch} crops of {preset.augmentation.crop} px a step, "
        f"{sampler.steps_per_epoch} steps an epoch, {preset.epochs} epochs, from step {learner.step}",
        flush=True,
    )
    loader = DataLoader(crops, batch_sampler=sampler, num_workers=workers)
    bar = tqdm(loader, total=sampler.steps, initial=learner.step, unit="step", mininterval=5)
    saved = time.monotonic()
    for pixels, labels in bar:
        loss = learner.learn(pixels, labels, sampler.steps_per_epoch)
        rate = preset.batch * (bar.format_dict["rate"] or 0)
        bar.set_postfix(loss=f"{loss:.3f}", images_per_second=f"{rate:.1f}", refresh=False)
        epoch, position = divmod(learner.step, sampler.steps_per_epoch)
        if position == 0:
            mean_loss = float(torch.stack(learner.losses).mean())
            learner.losses.clear()
            confusion = record_epoch(run, learner, data, epoch, mean_loss)
            bar.write(f"epoch {epoch}: loss {mean_loss:.4f}, val mean IoU {confusion.mean_iou:.4f}")
            described = {"preset": preset.name, "commit": commit, "epoch": str(epoch), "val_mean_iou": str(confusion.mean_iou)}
            save_weights(run.last, learner.averaged.state_dict(), described)
            if confusion.mean_iou > best:
                best = confusion.mean_iou
                save_weights(run.best, learner.averaged.state_dict(), described)
        if position == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS:
            learner.save(run, best)
            saved = time.monotonic()
    return best


def record_epoch(run: RunFolder, learner: Learner, data: Path, epoch: int, loss: float) -> ConfusionMatrix:
    """Validate the averaged network; add the figures, the curves and some sample pictures to the run's folder."""
    dataset = DATASETS[learner.preset.dataset]
    reader = dataset.evaluation(data, "val")
    segmenter = torch_segmenter(learner.averaged, learner.preset)
    confusion = evaluate(segmenter, reader, len(dataset.classes))
    run.append_row(metrics_row(epoch - 1, loss, confusion, dataset.classes))
    write_atomically(run.curves, curves(run.rows(epoch)))
    samples = [examine(segmenter, reader, stem, len(dataset.classes)) for stem in reader.stems()[:SAMPLES]]
    write_atomically(run.samples, panel(samples, dataset.classes))
    return confusion


def metrics_row(epoch: int, loss: float, confusion: ConfusionMatrix, classes: tuple[ClassInfo, ...]) -> dict[str, object]:
    """One line of the metrics table; epochs count from 0."""
    return {
        "epoch": epoch,
        "train_loss": f"{loss:.6f}",
        "val_mean_iou": f"{confusion.mean_iou:.6f}",
        "val_weighted_iou": f"{confusion.weighted_iou:.6f}",
        "val_pixel_accuracy": f"{confusion.pixel_accuracy:.6f}",
        "val_mean_class_accuracy": f"{confusion.mean_class_accuracy:.6f}",
        **{f"val_iou_{entry.name}": f"{iou:.6f}" for entry, iou in zip(classes, confusion.jaccard, strict=True)},
    }
