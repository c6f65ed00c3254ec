"""The configuration of a run, to be changed by `dataclasses.replace`."""

from tests.tiny_network import DATASET, PRESET
from training.plan import Plan
from training.run_folder import Frozen

FROZEN = Frozen(
    preset=PRESET,
    plan=Plan(4),
    data=DATASET.card,
    commit="abc",
    torch="2.13.0",
    machine="x86_64",
    init=None,
    examples="e" * 64,
    command="python -m training train",
    processes=1,
    photos="f" * 64,
)
