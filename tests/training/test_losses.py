"""What training lowers."""

import numpy as np
import pytest
import torch
from torch import nn

from service.metrics import VOID
from training.data.frequencies import Frequencies
from training.errors import InputError
from training.losses import SegmentationLoss, class_weights, jaccard_loss
from training.presets.preset import Loss

SEEN = Frequencies(np.array([600, 300, 100]), np.array([1000, 1000, 400]), np.array([5, 5, 2]), void=7)


def test_the_loss_is_the_sum_over_the_pixels_that_count() -> None:
    scores = torch.zeros(1, 2, 2, 2)
    scores[0, 1] = 3.0
    labels = torch.full((1, 16, 16), VOID)
    labels[0, :3, :3], labels[0, 3, 3] = 1, 0
    right, wrong = nn.functional.softplus(torch.tensor([-3.0, 3.0]))
    one = torch.ones(())
    torch.testing.assert_close(SegmentationLoss(None)(scores, labels, one, 1), 9 * right + wrong)
    assert SegmentationLoss(None).weight(labels) == 10
    weighted = SegmentationLoss(torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(weighted(scores, labels, one, 1), 18 * right + 0.5 * wrong)
    assert weighted.weight(labels) == 18.5
    torch.testing.assert_close(weighted(scores, labels, torch.tensor(18.5), 1), (18 * right + 0.5 * wrong) / 18.5)


def test_the_jaccard_loss_is_the_soft_share_missed_of_the_classes_that_an_image_holds() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.6, 0.3, 0.1]]).T.reshape(1, 3, 1, 3).repeat(2, 1, 1, 1)
    labels = torch.tensor([[[0, 1, VOID]], [[VOID, VOID, VOID]]])
    first = 0.7 / (0.7 + 0.4 + 1 - 0.7)
    second = 0.5 / (0.2 + 0.5 + 1 - 0.5)
    torch.testing.assert_close(jaccard_loss(probabilities, labels), torch.tensor([1 - (first + second) / 2, 0.0]))


def test_a_perfect_estimate_misses_nothing_and_a_wrong_one_all() -> None:
    labels = torch.tensor([[[0, 1, 1, 0]]])
    right = nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    assert jaccard_loss(right, labels) == 0
    assert jaccard_loss(1 - right, labels) == 1


def test_the_jaccard_loss_counts_beside_the_cross_entropy_as_much_as_it_is_told_to() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(0, 3, (2, 8, 8), generator=generator)
    plain, double = (SegmentationLoss(None, share)(scores, labels, torch.tensor(128.0), 2) for share in (0.0, 2.0))
    enlarged = nn.functional.interpolate(scores, size=(8, 8), mode="bilinear")
    torch.testing.assert_close(double - plain, 2 * jaccard_loss(enlarged.softmax(1), labels).mean())


def test_a_void_image_moves_nothing() -> None:
    scores = torch.zeros(1, 3, 2, 2, requires_grad=True)
    SegmentationLoss(None, 1.0)(scores, torch.full((1, 4, 4), VOID), torch.tensor(1.0), 1).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert not scores.grad.any()


def test_median_frequency_weights_are_eigen_and_ferguss() -> None:
    weights = class_weights(Loss("median-frequency"), SEEN)
    np.testing.assert_allclose(weights, [0.3 / 0.6, 1.0, 0.3 / 0.25])  # the frequencies are 0.6, 0.3 and 0.25


def test_log_weights_are_enets() -> None:
    weights = class_weights(Loss("log"), SEEN)
    np.testing.assert_allclose(weights, 1 / np.log(1.02 + np.array([0.6, 0.3, 0.1])), rtol=1e-6)


def test_a_class_without_pixels_has_no_median_frequency() -> None:
    with pytest.raises(InputError, match="no training image holds class 1"):
        class_weights(Loss("median-frequency"), Frequencies(np.array([5, 0]), np.array([5, 0]), np.array([1, 0]), 0))
