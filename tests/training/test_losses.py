"""What training lowers."""

import numpy as np
import pytest
import torch
from torch import nn

from service.metrics import VOID
from training.data.frequencies import Frequencies
from training.errors import InputError
from training.losses import PixelLoss, class_weights
from training.presets.preset import Loss

SEEN = Frequencies(np.array([600, 300, 100]), np.array([1000, 1000, 400]), np.array([5, 5, 2]), void=7)


def test_the_loss_is_the_sum_over_the_pixels_that_count() -> None:
    scores = torch.zeros(1, 2, 2, 2)
    scores[0, 1] = 3.0
    labels = torch.full((1, 16, 16), VOID)
    labels[0, :3, :3], labels[0, 3, 3] = 1, 0
    right, wrong = nn.functional.softplus(torch.tensor([-3.0, 3.0]))
    torch.testing.assert_close(PixelLoss(None)(scores, labels), 9 * right + wrong)
    assert PixelLoss(None).weight(labels) == 10
    weighted = PixelLoss(torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(weighted(scores, labels), 18 * right + 0.5 * wrong)
    assert weighted.weight(labels) == 18.5


def test_median_frequency_weights_are_eigen_and_ferguss() -> None:
    weights = class_weights(Loss("median-frequency"), SEEN)
    assert weights is not None
    np.testing.assert_allclose(weights, [0.3 / 0.6, 1.0, 0.3 / 0.25])  # the frequencies are 0.6, 0.3 and 0.25


def test_log_weights_are_enets() -> None:
    weights = class_weights(Loss("log"), SEEN)
    assert weights is not None
    np.testing.assert_allclose(weights, 1 / np.log(1.02 + np.array([0.6, 0.3, 0.1])), rtol=1e-6)


def test_a_class_without_pixels_has_no_median_frequency() -> None:
    with pytest.raises(InputError, match="no training image holds class 1"):
        class_weights(Loss("median-frequency"), Frequencies(np.array([5, 0]), np.array([5, 0]), np.array([1, 0]), 0))
