"""Validation and records at the end of each epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from service.contract import ClassInfo
from service.metrics import ConfusionMatrix
from training.data.reader import Reader
from training.errors import InputError
from training.evaluate import evaluate, torch_segmenter
from training.files import save_weights, write_atomically
from training.learner import Learner
from training.pictures.curves import curves
from training.pictures.panel import encoded, panel
from training.run_folder import RunFolder
from training.survey import examine
from training.tensorboard import EventLog

SAMPLES = 8  # validation images in the run's sample picture
# The most frequent estimate aside, classes must be estimated on at least this share of their total number of true pixels.
COLLAPSED = 0.1
WARN_FROM = 1 / 3  # of the epochs: before, most runs estimate little but the most frequent class


def validate(learner: Learner, reader: Reader, classes: int) -> ConfusionMatrix:
    """The confusion matrix of the averaged network over a split; each process measures its share of the images.

    Raises InputError if all pixels of the split are void.
    """
    learner.optimizer.zero_grad()  # every step makes new gradients: free these for the validation
    segmenter = torch_segmenter(learner.averaged, learner.preset)
    share = reader.stems()[learner.world.rank :: learner.world.size]
    counts = evaluate(segmenter, reader, classes, share).counts
    total = learner.world.total(torch.from_numpy(counts)).numpy()
    if not total.any():
        raise InputError("all pixels of the validation images are void: the best model cannot be told")
    return ConfusionMatrix.from_counts(total)


@dataclass(frozen=True)
class Recorder:
    """Writes the results of each epoch to the run's folder."""

    run: RunFolder
    reader: Reader  # of the validation split
    classes: Sequence[ClassInfo]
    described: Mapping[str, str]  # metadata of the weights files
    events: EventLog

    def record(self, learner: Learner, confusion: ConfusionMatrix, epoch: int, better: bool) -> None:
        """Add a row for `epoch`, counted from 1; redraw curves and samples; save the weights, also as best if `better`."""
        run, loss = self.run, float(torch.stack(learner.losses).mean())
        row = metrics_row(epoch, loss, confusion, self.classes)
        run.append_row(row)
        self.events.add(row)
        write_atomically(run.curves, curves(run.rows(epoch + 1)))
        segmenter = torch_segmenter(learner.averaged, learner.preset)
        samples = (examine(segmenter, self.reader, stem, len(self.classes)) for stem in self.reader.stems()[:SAMPLES])
        write_atomically(run.samples, encoded(panel(samples, self.classes), "JPEG"))
        told = {**self.described, "epoch": str(epoch), "val_mean_iou": str(confusion.mean_iou)}
        for path in (run.last, run.best) if better else (run.last,):
            save_weights(path, learner.averaged.state_dict(), told)
        print(f"epoch {epoch}: loss {loss:.4f}, val mean IoU {confusion.mean_iou:.4f}", flush=True)
        called = collapsed(confusion, self.classes)
        if called is not None and epoch >= WARN_FROM * learner.preset.epochs:
            hint = "more epochs may help, more images or more varied ones, or another preset"
            print(f"warning: nearly every pixel is called {called!r}; {hint}", flush=True)


def collapsed(confusion: ConfusionMatrix, classes: Sequence[ClassInfo]) -> str | None:
    """Name of the class that nearly all pixels are estimated as although the truth has other classes; None if there is none."""
    estimated, true = confusion.counts.sum(0), confusion.counts.sum(1)
    top = int(estimated.argmax())
    others, true_others = (int(pixels.sum() - pixels[top]) for pixels in (estimated, true))
    return classes[top].name if others < COLLAPSED * true_others else None


def metrics_row(epoch: int, loss: float, confusion: ConfusionMatrix, classes: Sequence[ClassInfo]) -> dict[str, object]:
    """One line of the metrics table; epochs count from 1."""
    return {
        "epoch": epoch,
        "train_loss": f"{loss:.6f}",
        "val_mean_iou": f"{confusion.mean_iou:.6f}",
        "val_weighted_iou": f"{confusion.weighted_iou:.6f}",
        "val_pixel_accuracy": f"{confusion.pixel_accuracy:.6f}",
        "val_mean_class_accuracy": f"{confusion.mean_class_accuracy:.6f}",
        **{f"val_iou_{entry.name}": f"{iou:.6f}" for entry, iou in zip(classes, confusion.jaccard, strict=True)},
    }
