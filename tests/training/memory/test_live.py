"""Bytes of tensors, followed through operations that compute nothing."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from training.memory.live import LiveBytes

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def live() -> Iterator[LiveBytes]:
    """Counting the bytes of tensors without contents, as on a GPU."""
    with FakeTensorMode(), LiveBytes(CUDA) as counting:
        yield counting


def test_a_tensor_counts_until_it_is_freed_and_the_peak_stays(live: LiveBytes) -> None:
    one, other = torch.empty(1000), torch.empty(500)
    assert live.now == 6000
    del one
    assert (live.now, live.peak) == (2000, 6000)
    live.restart()
    assert live.peak == 2000
    del other
    assert live.now == 0


def test_views_and_operations_in_place_count_once(live: LiveBytes) -> None:
    whole = torch.empty(10, 100)
    parts = [*whole.chunk(2), whole.T, whole.add_(1)]
    assert live.now == 4000
    del whole
    assert live.now == 4000
    parts.clear()
    assert live.now == 0


def test_what_the_backward_pass_needs_lives_until_then(live: LiveBytes) -> None:
    x = torch.empty(1000, requires_grad=True)
    loss = x.exp().sum()
    assert live.now == 4000 + 4000 + 4  # the exponential is its own derivative
    loss.backward()  # type: ignore[no-untyped-call]
    assert live.now == 4000 + 4000 + 4  # now it is the gradient


def test_a_terabyte_needs_no_memory(live: LiveBytes) -> None:
    torch.empty(2**38).mul(2)
    assert live.peak == 2 * 2**40


@pytest.mark.parametrize(("device", "copies"), [(CPU, 1), (CUDA, 0)], ids=["cpu", "cuda"])
def test_a_convolution_on_a_cpu_holds_its_weights_once_more(device: torch.device, copies: int) -> None:
    with FakeTensorMode(), LiveBytes(device) as live:
        image, kernel = torch.empty(1, 8, 16, 16), torch.empty(32, 8, 3, 3)
        before = live.now
        scores = F.conv2d(image, kernel)
        assert live.peak - before == scores.nbytes + copies * kernel.nbytes
