"""Compares two runs of the same recipe."""

from pathlib import Path

import torch

from training.files import load_weights

WEIGHTS = ("best.safetensors", "last.safetensors", "resume.safetensors")


def same_results(one: Path, other: Path) -> None:
    """Equal tables, and weights equal bit for bit."""
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    for name in WEIGHTS:
        (tensors, described), (expected, as_described) = load_weights(one / name), load_weights(other / name)
        anew = {"commit": "", "seconds": "", "peak_memory": "", "command": ""}  # a colleague may commit between two runs
        assert described | anew == as_described | anew
        assert tensors.keys() == expected.keys()
        for tensor in expected:
            assert torch.equal(tensors[tensor], expected[tensor]), f"{name}: {tensor}"
