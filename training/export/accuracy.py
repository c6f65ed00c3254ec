"""The accuracy gate: a variant is written only if it segments nearly as well as the fp32 model that it was made from."""

from service.contract import ModelCard, SplitMetrics
from training.errors import GateError

MAX_LOST_POINTS = 0.5  # points: hundredths of mean IoU


class AccuracyError(GateError):
    """A variant loses more mean IoU than the gate allows."""


def lost_points(variant: SplitMetrics, fp32: SplitMetrics) -> float:
    """Points (hundredths) of mean IoU that the variant loses on the same split; below 0 if the variant is better."""
    return 100 * (fp32.mean_iou - variant.mean_iou)


def require_accuracy(variant: ModelCard, fp32: ModelCard) -> None:
    """Compare two cards measured on the same split. Raises AccuracyError if the variant loses more than MAX_LOST_POINTS."""
    found, expected = variant.metrics[0], fp32.metrics[0]
    lost = lost_points(found, expected)
    if lost > MAX_LOST_POINTS:
        raise AccuracyError(
            f"{variant.precision} loses {lost:.2f} points of mean IoU on the {found.split} split "
            f"({expected.mean_iou:.2%} to {found.mean_iou:.2%}), {MAX_LOST_POINTS} may be lost: nothing was written"
        )
