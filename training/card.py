"""What a model file says of itself, filled in: names from the preset, figures from measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.contract import ClassInfo, ModelCard, SplitMetrics
from service.metrics import DEFINITION
from training import empty_scenes
from training.checkpoint import Checkpoint
from training.data.reader import Reader
from training.evaluate import Segmenter, evaluate
from training.networks.complexity import gmac, parameters
from training.networks.receptive_field import halo


@dataclass(frozen=True)
class Measurements:
    """Where to measure what the card states; what is not given is not stated."""

    labelled: Reader | None = None  # a split of the model's data set: metrics
    split: str = "val"  # its name
    camvid: Path | None = None  # street frames without animals
    photos: tuple[Path, ...] = ()  # photos with none of the classes


def describe(checkpoint: Checkpoint, name: str, segmenter: Segmenter, where: Measurements) -> ModelCard:
    """The card of `checkpoint`, with what `segmenter` reaches on the data sets that are given."""
    preset, network = checkpoint.preset, checkpoint.network
    data = checkpoint.data
    metrics, scenes = [], []
    if where.labelled is not None:
        metrics.append(measure_split(segmenter, data.classes, where.labelled, where.split))
    if where.camvid is not None:
        scenes.append(empty_scenes.street_frames(segmenter, data.classes, where.camvid))
    if where.photos:
        scenes.append(empty_scenes.plain_photos(segmenter, data.classes, where.photos))
    return ModelCard(
        name=name,
        architecture=preset.architecture,
        classes=data.classes,
        stride=network.stride,
        output_stride=network.output_stride,
        halo=halo(network),
        long_side=preset.long_side,
        pad_value=preset.pad_value,
        precision="fp32",
        dataset=data.description,
        licence=data.licence,
        metrics=metrics,
        empty_scenes=scenes,
        limits=data.limits,
        preset=preset.name,
        training_commit=checkpoint.commit,
        parameters=parameters(network),
        gmac=round(gmac(network), 3),
    )


def measure_split(segmenter: Segmenter, classes: Sequence[ClassInfo], reader: Reader, split: str) -> SplitMetrics:
    """The figures of a labelled split. Raises FileNotFoundError if there is no such split."""
    confusion = evaluate(segmenter, reader, len(classes))
    return SplitMetrics(
        split=split,
        images=len(reader.stems()),
        definition=DEFINITION,
        mean_iou=confusion.mean_iou,
        weighted_iou=confusion.weighted_iou,
        pixel_accuracy=confusion.pixel_accuracy,
        mean_class_accuracy=confusion.mean_class_accuracy,
        iou={entry.name: None if np.isnan(iou) else float(iou) for entry, iou in zip(classes, confusion.jaccard, strict=True)},
    )
