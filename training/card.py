"""What a model file says of itself, filled in: names from the preset, figures from measurements."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.contract import ModelCard, SplitMetrics
from service.metrics import DEFINITION
from training import empty_scenes
from training.checkpoint import Checkpoint
from training.data.datasets import DATASETS
from training.evaluate import Segmenter, evaluate
from training.networks.complexity import gmac, parameters
from training.networks.receptive_field import halo


@dataclass(frozen=True)
class Measurements:
    """Where to measure what the card states; what is not given is not stated."""

    data: Path | None = None  # the preset's data set: metrics
    split: str = "val"
    camvid: Path | None = None  # street frames without animals
    photos: tuple[Path, ...] = ()  # photos with none of the classes


def describe(checkpoint: Checkpoint, name: str, segmenter: Segmenter, where: Measurements) -> ModelCard:
    """The card of `checkpoint`, with what `segmenter` reaches on the data sets that are given."""
    preset, network = checkpoint.preset, checkpoint.network
    dataset = DATASETS[preset.dataset]
    metrics, scenes = [], []
    if where.data is not None:
        metrics.append(measure_split(segmenter, preset.dataset, where.data, where.split))
    if where.camvid is not None:
        scenes.append(empty_scenes.street_frames(segmenter, dataset.classes, where.camvid))
    if where.photos:
        scenes.append(empty_scenes.plain_photos(segmenter, dataset.classes, where.photos))
    return ModelCard(
        name=name,
        architecture=preset.architecture,
        classes=dataset.classes,
        stride=network.stride,
        output_stride=network.output_stride,
        halo=halo(network),
        long_side=preset.long_side,
        pad_value=preset.pad_value,
        precision="fp32",
        dataset=dataset.description,
        licence=dataset.licence,
        metrics=metrics,
        empty_scenes=scenes,
        preset=preset.name,
        training_commit=checkpoint.commit,
        parameters=parameters(network),
        gmac=round(gmac(network), 3),
    )


def measure_split(segmenter: Segmenter, dataset: str, data: Path, split: str) -> SplitMetrics:
    """The figures of one split of a data set, a key of DATASETS, in folder `data`.

    Raises FileNotFoundError if there is no such split.
    """
    described = DATASETS[dataset]
    reader = described.evaluation(data, split)
    confusion = evaluate(segmenter, reader, len(described.classes))
    return SplitMetrics(
        split=split,
        images=len(reader.stems()),
        definition=DEFINITION,
        mean_iou=confusion.mean_iou,
        weighted_iou=confusion.weighted_iou,
        pixel_accuracy=confusion.pixel_accuracy,
        mean_class_accuracy=confusion.mean_class_accuracy,
        iou={
            entry.name: None if np.isnan(iou) else float(iou)
            for entry, iou in zip(described.classes, confusion.jaccard, strict=True)
        },
    )
