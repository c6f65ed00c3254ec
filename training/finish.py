"""Finishes a run: evaluates its best model in detail, and writes pictures and the record that reports are made from."""

import torch

from service.metrics import DEFINITION
from training.boundary import BOUNDARY_DEFINITION
from training.checkpoint import load_checkpoint
from training.data.fingerprint import photos_fingerprint
from training.data.reader import Reader
from training.evaluate import torch_segmenter
from training.figures import none_if_nan
from training.machine import default_device, processor_name
from training.networks.complexity import gmac, parameters
from training.pictures.gallery import write_gallery
from training.progress import Progress
from training.report.record import Record, write_record
from training.run_folder import RunFolder
from training.survey import survey


def finish(run: RunFolder, validation: Reader, progress: Progress) -> None:
    """Write the pictures and `record.json` of the run's best model on the validation split."""
    checkpoint = load_checkpoint(run.path)
    preset, classes = checkpoint.preset, checkpoint.data.classes
    segmenter = torch_segmenter(checkpoint.network.to(default_device()), preset)
    found = survey(segmenter, validation, len(classes))
    write_gallery(run.path, found, segmenter, validation, classes)
    cuda = torch.cuda.is_available()
    record = Record(
        preset=preset.name,
        title=preset.title or preset.name,
        architecture=preset.architecture,
        dataset=checkpoint.data.description,
        classes=tuple(entry.name for entry in classes),
        parameters=parameters(checkpoint.network),
        gmac=round(gmac(checkpoint.network), 3),
        epochs=len(run.rows(preset.epochs + 1)),
        crop=preset.augmentation.crop,
        batch=preset.batch,
        long_side=preset.long_side,
        device=torch.cuda.get_device_name() if cuda else f"{processor_name()} ({torch.backends.cpu.get_cpu_capability()})",
        threads=torch.get_num_threads(),
        seconds=round(progress.seconds, 1),
        peak_memory=progress.peak_memory,
        peak_memory_method="CUDA peak" if cuda else "peak RSS",
        best_epoch=progress.best_epoch,
        split="val",
        images=len(validation.stems()),
        confusion=tuple(map(tuple, found.confusion.counts.tolist())),
        definition=DEFINITION,
        boundary_f=tuple(map(none_if_nan, found.boundary.per_class.tolist())),
        mean_boundary_f=none_if_nan(found.boundary.mean),
        boundary_definition=BOUNDARY_DEFINITION,
        commit=checkpoint.commit,
        torch=torch.__version__,
        command=checkpoint.command,
        photos=photos_fingerprint([validation]),
    )
    write_record(run.path, record)
