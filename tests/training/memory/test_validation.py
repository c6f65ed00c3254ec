"""Memory that runs out between two steps."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.tiny_network import ARCHITECTURE, PRESET, tiny_fcn
from training.__main__ import USER_ERROR, main
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation
from training.run_folder import RunFolder


def too_large_for_validation(classes: int, normalisation: Normalisation) -> FCN:
    """The tiny network, with no memory left for what it is evaluated on."""

    def fill_memory(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if not network.training and type(inputs[0]) is torch.Tensor:  # not the estimate's, which have no contents
            raise torch.OutOfMemoryError("injected")

    network = tiny_fcn(classes, normalisation)
    network.register_forward_pre_hook(fill_memory)
    return network


def test_out_of_memory_in_validation_is_told_and_the_run_can_go_on(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", PRESET.name, "--data", str(shapes), "--out", str(tmp_path / "run")]
    with monkeypatch.context() as context:
        context.setitem(NETWORKS, ARCHITECTURE, too_large_for_validation)
        assert main(command) == USER_ERROR
    assert capsys.readouterr().err.endswith("python -m training: out of memory: injected\n")
    assert main(command) == 0
    assert len(RunFolder(tmp_path / "run").rows(before_epoch=99)) == PRESET.epochs
