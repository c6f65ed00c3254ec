"""Half a point may be lost, and no more."""

import pytest

from service.contract import ModelCard, Precision, SplitMetrics
from tests.training.export.color_network import color_checkpoint
from training.export.accuracy import AccuracyError, lost_points, require_accuracy
from training.export.card import describe


def measured_at(mean_iou: float, precision: Precision) -> ModelCard:
    """A card with that mean IoU."""
    figures = SplitMetrics(
        split="val", images=1, definition="", mean_iou=mean_iou, weighted_iou=0, pixel_accuracy=0, mean_class_accuracy=0, iou={}
    )
    return describe(color_checkpoint(), "colors").model_copy(update={"metrics": [figures], "precision": precision})


FP32 = 0.76543


@pytest.mark.parametrize("mean_iou", [FP32 - 0.00499, FP32, FP32 + 0.1])
def test_a_variant_that_loses_little_or_gains_passes(mean_iou: float) -> None:
    require_accuracy(measured_at(mean_iou, "int8"), measured_at(FP32, "fp32"))


def test_more_is_refused_with_both_figures() -> None:
    with pytest.raises(AccuracyError, match=r"fp16 loses 0\.51 points of mean IoU on the val split \(76\.54% to 76\.03%\)"):
        require_accuracy(measured_at(FP32 - 0.0051, "fp16"), measured_at(FP32, "fp32"))


def test_points_are_hundredths() -> None:
    fp32, variant = measured_at(0.8, "fp32"), measured_at(0.75, "int8")
    assert lost_points(variant.metrics[0], fp32.metrics[0]) == pytest.approx(5)
