"""The model card in a model file: names from the preset, figures from measurements."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from service.contract import ClassInfo, ModelCard, SplitMetrics
from service.metrics import DEFINITION, ConfusionMatrix
from training.checkpoint import Checkpoint
from training.data.reader import Reader
from training.errors import InputError
from training.evaluate import Labeller, Segmenter, evaluate
from training.export.empty_scenes import Scenes, measure_scenes
from training.export.recipe import recipe_text
from training.figures import none_if_nan
from training.networks.complexity import gmac, parameters
from training.networks.receptive_field import halo


@dataclass(frozen=True)
class Measurements:
    """The images that a card's figures come from; without images, the card does not state the figures."""

    labelled: Reader | None = None  # a split of the model's data set
    split: str = "val"  # its name, for the card
    scenes: tuple[Scenes, ...] = ()
    training: Reader | None = None  # the training split: int8 is calibrated on it


def describe(checkpoint: Checkpoint, name: str) -> ModelCard:
    """The card of `checkpoint` before anything is measured. Raises InputError if `name` is not a valid model name."""
    preset, network, data = checkpoint.preset, checkpoint.network, checkpoint.data
    try:
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
            metrics=[],
            limits=data.limits,
            preset=preset.name,
            recipe=recipe_text(preset, checkpoint.commit, checkpoint.command, checkpoint.before),
            training_commit=checkpoint.commit,
            parameters=parameters(network),
            gmac=round(gmac(network), 3),
        )
    except ValidationError as error:
        [what, *_] = error.errors()
        raise InputError(f"the card's {what['loc'][0]} cannot be {what['input']!r}: {what['msg']}") from error


def measured(card: ModelCard, segmenter: Segmenter, where: Measurements) -> ModelCard:
    """`card` with its metrics and empty scenes replaced by those of `segmenter` on the images in `where`."""
    metrics = [measure_split(segmenter, card.classes, where.labelled, where.split)] if where.labelled else []
    scenes = [measure_scenes(segmenter, card.classes, scenes) for scenes in where.scenes]
    return card.model_copy(update={"metrics": metrics, "empty_scenes": scenes})


def measure_split(segmenter: Labeller, classes: Sequence[ClassInfo], reader: Reader, split: str) -> SplitMetrics:
    """The figures of a labelled split. Raises MissingSplit if there is none, InputError if all its pixels are void."""
    return split_metrics(evaluate(segmenter, reader, len(classes)), classes, len(reader.stems()), split)


def split_metrics(confusion: ConfusionMatrix, classes: Sequence[ClassInfo], images: int, split: str) -> SplitMetrics:
    """The figures that follow from a split's confusion matrix. Raises InputError if it is empty."""
    if not confusion.counts.any():
        raise InputError(f"the {split} split has no labelled pixel to measure anything on")
    return SplitMetrics(
        split=split,
        images=images,
        definition=DEFINITION,
        mean_iou=confusion.mean_iou,
        weighted_iou=confusion.weighted_iou,
        pixel_accuracy=confusion.pixel_accuracy,
        mean_class_accuracy=confusion.mean_class_accuracy,
        iou={entry.name: none_if_nan(float(iou)) for entry, iou in zip(classes, confusion.jaccard, strict=True)},
    )
