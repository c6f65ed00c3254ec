"""From a file of weights back to the network that they belong to."""

from dataclasses import dataclass
from pathlib import Path

from training.data.datasets import DATASETS
from training.errors import InputError
from training.networks import NETWORKS
from training.networks.fcn import FCN
from training.presets import Preset, find_preset
from training.run_folder import RunFolder, load_weights


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, on the CPU in evaluation mode, and the recipe it came from."""

    preset: Preset
    commit: str  # of the code that trained it
    network: FCN


def load_checkpoint(source: Path) -> Checkpoint:
    """The best weights of a run folder, or a .safetensors file whose metadata names its preset.

    Raises InputError if `source` is neither, or if the weights do not fit the preset's network.
    """
    if source.is_dir():
        run = RunFolder(source)
        preset, commit = run.frozen()
        if not run.best.exists():
            raise InputError(f"{source} has no best.safetensors yet: its first epoch is not over")
        weights = run.best
    else:
        if not source.exists():
            raise InputError(f"no such file or folder: {source}")
        _, described = load_weights(source)
        if "preset" not in described:
            raise InputError(f"{source} does not say which preset trained it; give a run folder")
        preset, commit, weights = find_preset(described["preset"]), described.get("commit", "unknown"), source
    network = NETWORKS[preset.architecture](len(DATASETS[preset.dataset].classes))
    fill(network, weights)
    return Checkpoint(preset, commit, network.eval())


def fill(network: FCN, weights: Path) -> None:
    """Load a .safetensors file of any floating-point type into `network`.

    Raises InputError if a tensor is missing, left over or of another shape.
    """
    tensors, _ = load_weights(weights)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    differing = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if differing:
        raise InputError(f"{weights} does not fit the network: {len(differing)} tensors differ, first {differing[0]}")
    network.load_state_dict(tensors)  # copies into the network's own types
