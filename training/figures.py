"""Figures as JSON can hold them."""

import math


def none_if_nan(figure: float) -> float | None:
    """The figure, or None (null) instead of NaN, which JSON has not."""
    return None if math.isnan(figure) else figure
