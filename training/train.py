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

from training.checkpoint import describe_weights, inheriting
from training.data.batches import CropDataset, ResumableSampler, share_of_batch, without_trace
from training.data.dataset import Dataset
from training.data.fingerprint import fingerprint, photos_fingerprint
from training.data.reader import Reader
from training.epoch import Recorder, validate
from training.errors import InputError
from training.export.recipe import steps_before
from training.files import write_atomically
from training.finish import finish
from training.learner import Learner
from training.losses import create_loss
from training.machine import current_commit
from training.networks.surgery import Transfer
from training.parallel import World
from training.plan import Plan
from training.presets.preset import Preset
from training.progress import Progress
from training.report.record import read_record
from training.run_folder import Frozen, RunFolder
from training.tensorboard import EventLog
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
) -> float:
    """Train `preset` on the data set in `data`, recording everything in folder `out`; returns the best validation mean IoU.

    If an earlier run in `out` was killed, training continues from the last checkpoint to the same result. `init` is a file
    of weights to start from instead of those that the preset names. Without `plan`, a step takes its batch at once, in fp32.
    `command` is recorded as the command that began the run. Raises InputError if `out` holds a run of another
    configuration, or if `data` does not hold the data set.
    """
    world = world or World.alone()
    plan = plan or Plan(micro_batch=share_of_batch(preset.batch, world.size))
    reader = dataset.train(data)
    crops = CropDataset(reader, preset.augmentation, preset.pad_value, preset.seed)
    validation = dataset.evaluation(data, "val")
    if not validation.stems():
        raise InputError(f"{data} has no validation images: the best model could not be told")
    run = RunFolder(out)
    wanted = _frozen(preset, plan, dataset, init, [reader, validation], command, world.size)
    begun = run.begun(wanted)
    learner = Learner.create(preset, dataset.classes, init, create_loss(preset.loss, reader, len(dataset.classes)), plan, world)
    progress = Progress.from_metadata(learner.restore(run.resume)) if run.resume.exists() else Progress()
    progress = progress.knowing(run.best)
    sampler = ResumableSampler(len(crops), preset.batch, preset.epochs, preset.seed, learner.step, world.rank, world.size)
    with run.locked() if world.is_main else nullcontext():  # all that could refuse the run has been checked
        if world.is_main:
            _begin(run, begun, wanted, learner.copied, progress)
        if run.record.exists():  # it knows the best even if the weights were removed
            return progress.best if progress.best_epoch else read_record(out).matrix.mean_iou
        recorder = None
        if world.is_main:
            print(_heading(preset, len(crops), sampler.steps_per_epoch, learner.step), flush=True)
            described = describe_weights(preset, wanted.data, begun.commit, begun.command, begun.before)
            recorder = Recorder(run, validation, dataset.classes, described, EventLog(run.events, sampler.first_epoch))
        loader = DataLoader(crops, batch_sampler=sampler, num_workers=workers)
        bar = tqdm(loader, total=sampler.steps, initial=learner.step, unit="step", mininterval=5, disable=not world.is_main)
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
                progress = _end_epoch(learner, validation, len(dataset.classes), recorder, progress, epoch + 1)
            if world.is_main and (epoch_ends or time.monotonic() - saved > CHECKPOINT_SECONDS):
                progress = progress.after(time.monotonic() - started)
                learner.save(run.resume, progress.to_metadata())
                saved = time.monotonic()
        if recorder is not None:
            recorder.events.close()
            finish(run, validation, progress)
        return progress.best


def _frozen(
    preset: Preset, plan: Plan, dataset: Dataset, init: Path | None, splits: list[Reader], command: str, processes: int
) -> Frozen:
    """The configuration of a run that begins now; `splits` are its training and validation images."""
    return Frozen(
        preset=preset,
        plan=plan,
        data=inheriting(dataset.card, init),
        commit=current_commit(),
        torch=torch.__version__,
        machine=platform.machine(),
        init=None if init is None else hashlib.sha256(init.read_bytes()).hexdigest(),
        examples=fingerprint(splits),
        command=command,
        processes=processes,
        photos=photos_fingerprint(splits),
        before=steps_before(init),
    )


def _heading(preset: Preset, images: int, steps_per_epoch: int, step: int) -> str:
    """What a run from `step` on will do, in a line."""
    return (
        f"{preset.name}: {counted(images, 'image')}, {preset.batch} {preset.augmentation.size} a step, "
        f"{counted(steps_per_epoch, 'step')} an epoch, {counted(preset.epochs, 'epoch')}, from step {step}"
    )


def _end_epoch(
    learner: Learner, validation: Reader, classes: int, recorder: Recorder | None, progress: Progress, epoch: int
) -> Progress:
    """Validate after `epoch`, counted from 1, and record the result; returns the progress, which knows the best epoch."""
    confusion = validate(learner, validation, classes)
    better = confusion.mean_iou > progress.best
    if recorder is not None:
        recorder.record(learner, confusion, epoch, better)
    learner.losses.clear()
    return replace(progress, best=confusion.mean_iou, best_epoch=epoch) if better else progress


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
        if before != after:
            print(f"warning: it began with {what} {before} and goes on with {after}: results may differ", flush=True)
