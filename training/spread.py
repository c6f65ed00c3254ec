"""Picks a few items that represent a long list."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def at_even_steps(items: Sequence[T], number: int) -> list[T]:
    """`number` items at even steps, including the first and the last; all items if there are fewer."""
    indices = np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int)
    return [items[index] for index in indices]
