"""What an epoch's end says."""

import numpy as np
import pytest

from service.metrics import ConfusionMatrix
from tests.tiny_network import DATASET
from training.epoch import collapsed

CLASSES = DATASET.classes[:3]


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        ([[400, 0, 0], [300, 1, 0], [300, 0, 0]], "background"),
        ([[930, 0, 0], [40, 2, 0], [30, 0, 0]], "background"),  # a small object is missed as well
        ([[0, 0, 500], [0, 0, 300], [0, 0, 200]], CLASSES[2].name),
        ([[930, 0, 0], [10, 30, 0], [10, 0, 20]], None),
        ([[1000, 0, 0], [0, 0, 0], [0, 0, 0]], None),  # there is nothing else
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], None),
    ],
)
def test_it_warns_of_one_class_for_everything_where_the_truth_has_others(counts: list[list[int]], name: str | None) -> None:
    assert collapsed(ConfusionMatrix.from_counts(np.array(counts)), CLASSES) == name
