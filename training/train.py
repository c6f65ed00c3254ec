"""The trainer: one loop for every preset."""

import hashlib
import platform
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from training.checkpoint import describe_weights
from training.data.batches import CropDataset, ResumableSampler, share_of_batch, without_trace
from training.data.dataset import Dataset
from training.data.fingerprint import fingerprint, photos_fingerprint
from training.epoch import Recorder, validate
from training.errors import InputError
from training.finish import finish
from training.learner import Learner
from training.losses import create_loss
from training.machine import current_commit, keep_freed_memory, return_freed_memory
from training.networks.surgery import Transfer
from training.parallel import World
from training.plan import Plan
from training.presets.preset import Preset
from training.progress import Progress, peak_memory
from training.report.record import read_record
from training.run_folder import Frozen, RunFolder, write_atomically
from training.wording import counted

CHECKPOINT_SECONDS = 120  # between two writes of the resume file


def train(
    preset: Preset,
    dataset: Dataset,
    data: Path,
    out: Path,
    *,
    init: Path | None = None,
    plan: Plan | None = None,
    world: World | None = None,
    workers: int = 1,
    command: str = "",
    has_room: bool = True,
) -> float:
    """Train `preset` on the data set in `data`, recording everything in folder `out`; returns the best validation mean IoU.

    If an earlier run in `out` was killed, training continues from the last checkpoint to the same result. `init` is a file
    of weights to start from instead of those that the preset names. Without `plan`, a step takes its batch at once, in fp32.
    `command` is recorded as the command that began the run. With `has_room`, freed memory is kept for reuse, which is
    faster. Raises InputError if `out` holds a run of another configuration, or if `data` does not hold the data set.
    """
    keep_freed_memory() if has_room else return_freed_memory()
    world = world or World.alone()
    plan = plan or Plan(micro_batch=share_of_batch(preset.batch, world.size))
    reader = dataset.train(data)
    crops = CropDataset(reader, preset.augmentation, preset.pad_value, preset.seed)
    run = RunFolder(out)
    validation = dataset.evaluation(data, "val")
    if not validation.stems():
        raise InputError(f"{data} has no validation images: the best model could not be told")
    wanted = Frozen(
        preset,
        plan,
        dataset.card,
        current_commit(),
        torch.__version__,
        platform.machine(),
        None if init is None else hashlib.sha256(init.read_bytes()).hexdigest(),
        fingerprint([reader, validation]),
        command,
        world.size,
        photos_fingerprint([reader, validation]),
    )
    begun = run.begun(wanted)
    described = describe_weights(preset, dataset.card, begun.commit, begun.command)
    learner = Learner.create(preset, dataset.classes, init, create_loss(preset.loss, reader, len(dataset.classes)), plan, world)
    progress = Progress.from_metadata(learner.restore(run.resume)) if run.resume.exists() else Progress()
    progress = progress.knowing(run.best)
    sampler = ResumableSampler(len(crops), preset.batch, preset.epochs, preset.seed, learner.step, world.rank, world.size)
    with run.locked() if world.leads else nullcontext():  # all that could refuse the run has been checked
        if world.leads:
            _begin(run, begun, wanted, learner.copied, progress)
        if run.record.exists():  # it knows the best even if the weights were removed
            return progress.best if progress.best_epoch else read_record(out).matrix.mean_iou
        if world.leads:
            print(
                f"{preset.name}: {counted(len(crops), 'image')}, {preset.batch} {preset.augmentation.size} a step, "
                f"{counted(sampler.steps_per_epoch, 'step')} an epoch, {counted(preset.epochs, 'epoch')}, "
                f"from step {learner.step}",
                flush=True,
            )
        loader = DataLoader(crops, batch_sampler=sampler, num_workers=workers)
        bar = tqdm(loader, total=sampler.steps, initial=learner.step, unit="step", mininterval=5, disable=not world.leads)
        recorder = Recorder.begin(run, validation, dataset.classes, described, sampler.first_epoch) if world.leads else None
        started, saved = time.monotonic() - progress.seconds, time.monotonic()
        for pixels, labels in without_trace(bar):
            epoch, position = divmod(learner.step, sampler.steps_per_epoch)  # finished epochs, steps of the next one
            if position == 0 and progress.is_exhausted(epoch, preset):
                break
            learner.learn(pixels, labels, sampler.steps_per_epoch)
            if learner.step % 10 == 0:
                rate = preset.batch * (bar.format_dict["rate"] or 0)
                bar.set_postfix(loss=f"{float(learner.losses[-1]):.3f}", images_per_second=f"{rate:.1f}", refresh=False)
            epoch_ends = learner.step % sampler.steps_per_epoch == 0
            if epoch_ends:
                confusion = validate(learner, validation, len(dataset.classes))
                better = confusion.mean_iou > progress.best
                if better:
                    progress = replace(progress, best=confusion.mean_iou, best_epoch=epoch + 1)
                if recorder is not None:
                    recorder.record(learner, confusion, epoch + 1, better)
                learner.losses.clear()
            if world.leads and (epoch_ends or time.monotonic() - saved > CHECKPOINT_SECONDS):
                peak = max(progress.peak_memory, peak_memory())
                progress = replace(progress, seconds=time.monotonic() - started, peak_memory=peak)
                learner.save(run.resume, progress.to_metadata())
                saved = time.monotonic()
        if world.leads:
            finish(run, validation, progress)
        return progress.best


def _begin(run: RunFolder, begun: Frozen, now: Frozen, copied: Transfer | None, progress: Progress) -> None:
    """Record what a new run begins with; print if the run is finished, or continues with other code or on another machine.

    Raises InputError if the run cannot go on, since a file of it is damaged or missing.
    """
    run.freeze(now)
    if copied is not None:
        write_atomically(run.weights, copied.text().encode())
    if run.record.exists():
        print(f"{run.path} holds this run, finished: there is nothing left to train", flush=True)
        return
    run.require_whole(progress.best_epoch)
    for what in ("commit", "torch", "machine", "processes"):
        before, after = getattr(begun, what), getattr(now, what)
        if before != after and before:
            print(f"warning: it began with {what} {before} and goes on with {after}: results may differ", flush=True)
