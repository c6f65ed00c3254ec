"""Does a variant segment as well as the model it was made from? The gate before any variant is written."""

from service.contract import ModelCard, SplitMetrics
from training.errors import GateError

MAX_LOST_POINTS = 0.5  # hundredths of mean IoU


class AccuracyError(GateError):
    """A variant loses more mean IoU than the gate allows."""


def lost_points(variant: SplitMetrics, fp32: SplitMetrics) -> float:
    """Hundredths of mean IoU between two measurements of one split; below 0 if the variant is the better one."""
    return 100 * (fp32.mean_iou - variant.mean_iou)


def require_accuracy(variant: ModelCard, fp32: ModelCard) -> None:
    """Compare two cards measured on the same split. Raises AccuracyError beyond MAX_LOST_POINTS."""
    found, expected = variant.metrics[0], fp32.metrics[0]
    lost = lost_points(found, expected)
    if lost > MAX_LOST_POINTS:
        raise AccuracyError(
            f"{variant.precision} loses {lost:.2f} points of mean IoU on the {found.split} split "
            f"({expected.mean_iou:.2%} to {found.mean_iou:.2%}), {MAX_LOST_POINTS} may be lost: nothing was written"
        )
