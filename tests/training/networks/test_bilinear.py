"""Enlargement by transposed convolution is bilinear interpolation."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.bilinear import BilinearEnlargement, bilinear_kernel, learned_enlargement

FACTORS = [2, 8, 16, 32]


def inside(enlarged: Tensor, factor: int) -> Tensor:
    """Without the half cell around, and without the first and last cell, which torch and the kernel fill differently."""
    margin = factor // 2 + factor
    return enlarged[..., margin:-margin, margin:-margin]


def enlargement(kind: str, channels: int, factor: int) -> nn.Module:
    return BilinearEnlargement(factor) if kind == "fixed" else learned_enlargement(channels, factor)


@pytest.mark.parametrize("kind", ["fixed", "learned"])
@pytest.mark.parametrize("factor", FACTORS)
def test_it_agrees_with_interpolation_at_pixel_centres(kind: str, factor: int) -> None:
    x = torch.rand(2, 3, 5, 7)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    found = inside(enlargement(kind, 3, factor)(x), factor)
    torch.testing.assert_close(found, expected[..., factor:-factor, factor:-factor])


@pytest.mark.parametrize("factor", FACTORS)
def test_a_ramp_stays_a_ramp(factor: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    ramp = 3 * rows - 2 * columns + 1
    found = inside(BilinearEnlargement(factor)(ramp[None, None]), factor)[0, 0]
    torch.testing.assert_close(found.diff(dim=0), torch.full_like(found[1:], 3 / factor), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.diff(dim=1), torch.full_like(found[:, 1:], -2 / factor), rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_cell_gives_all_of_itself(factor: int) -> None:
    assert bilinear_kernel(factor).sum() == pytest.approx(factor**2)


def test_the_fixed_kernel_is_not_learned_and_the_other_is() -> None:
    assert not list(BilinearEnlargement(8).parameters())
    assert not BilinearEnlargement(8).state_dict()
    assert [tensor.requires_grad for tensor in learned_enlargement(3, 2).parameters()] == [True]
