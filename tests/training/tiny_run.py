"""The trainer's commands with the tiny network and its recipes known: `python -m tests.training.tiny_run train ...`."""

import dataclasses
import sys

import torch

from tests.tiny_network import ARCHITECTURE, PRESET, TinyBackbone, tiny_fcn
from training import train as trainer
from training.__main__ import main
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.presets import PRESETS
from training.presets.preset import Loss, MomentumSGD

# Without dropout: which masks are drawn depends on how a batch is shared out.
STEADY = dataclasses.replace(
    PRESET,
    name="shapes-steady",
    architecture="fcn8s-tiny-steady",
    optimizer=MomentumSGD(learning_rate=0.05, momentum=0.9, weight_decay=1e-3),
    clip_norm=1.0,
    loss=Loss("log", jaccard=1.0),
)


def run(arguments: list[str]) -> int:
    """One command, on one thread; what a resume needs is written after every step."""
    torch.set_num_threads(1)
    trainer.CHECKPOINT_SECONDS = 0
    NETWORKS.update(
        {ARCHITECTURE: tiny_fcn, STEADY.architecture: lambda classes, _: FCN(TinyBackbone(), classes, 8, dropout=0)}
    )
    PRESETS.update({preset.name: preset for preset in (PRESET, STEADY)})
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
