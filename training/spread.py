"""A few out of many, so that all of it is seen."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def at_even_steps(items: Sequence[T], number: int) -> list[T]:
    """Up to `number` of the items at even steps, the first and the last among them; all if there are fewer."""
    places = np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int)
    return [items[place] for place in places]
