"""From a file of weights back to the network that they belong to."""

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from training.data.dataset import DataCard
from training.errors import InputError
from training.networks import NETWORKS
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.surgery import transfer
from training.presets import find_preset
from training.presets.preset import Preset
from training.run_folder import RunFolder, load_weights

DATA_CARD = TypeAdapter(DataCard)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, on the CPU in evaluation mode, and what it came from."""

    preset: Preset
    data: DataCard
    commit: str  # of the code that trained it
    network: SegmentationNetwork


def describe_weights(preset: Preset, data: DataCard, commit: str) -> dict[str, str]:
    """What a .safetensors file of weights says of itself: its metadata."""
    # The architecture need not be the preset's: --fit auto may have taken a lighter one.
    named = {"preset": preset.name, "architecture": preset.architecture}
    normalisation = TypeAdapter(Normalisation).dump_json(preset.normalisation).decode()
    return {**named, "normalisation": normalisation, "data": DATA_CARD.dump_json(data).decode(), "commit": commit}


def load_checkpoint(source: Path) -> Checkpoint:
    """The best weights of a run folder, or a .safetensors file that says which preset and data it is of.

    Raises InputError if `source` is neither, or if the weights do not fit the preset's network.
    """
    if source.is_dir():
        run = RunFolder(source)
        frozen = run.frozen()
        if not run.best.exists():
            raise InputError(f"{source} has no best.safetensors yet: its first epoch is not over")
        tensors, _ = load_weights(run.best)
        preset, data, commit = frozen.preset, frozen.data, frozen.commit
    else:
        if not source.exists():
            raise InputError(f"no such file or folder: {source}")
        tensors, described = load_weights(source)
        try:
            preset, commit = find_preset(described["preset"]), described["commit"]
            preset = replace(preset, architecture=described.get("architecture", preset.architecture))
            data = DATA_CARD.validate_json(described["data"])
        except (KeyError, ValidationError) as error:
            raise InputError(f"{source} does not say which preset and data it is of; give a run folder") from error
    network = NETWORKS[preset.architecture](len(data.classes), preset.normalisation)
    transfer(network, tensors)
    return Checkpoint(preset, data, commit, network.eval())
