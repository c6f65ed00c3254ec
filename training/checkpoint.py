"""Loads checkpoints: rebuilds a trained network from a run folder or a file of weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from training.data.dataset import DataCard
from training.errors import InputError
from training.files import load_weights, read_metadata
from training.networks import NETWORKS
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.surgery import transfer
from training.presets import find_preset
from training.presets.preset import Preset
from training.run_folder import RunFolder

DATA_CARD = TypeAdapter(DataCard)
PRESET = TypeAdapter(Preset)
STEPS = TypeAdapter(tuple[str, ...])


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, on the CPU in evaluation mode, with the preset, the data and the code that it came from."""

    preset: Preset
    data: DataCard
    commit: str  # of the code that trained the network
    network: SegmentationNetwork
    command: str = ""  # the command that began the run; empty: not recorded
    before: tuple[str, ...] = ()  # as in `Frozen`


def describe_weights(preset: Preset, data: DataCard, commit: str, command: str, before: Sequence[str] = ()) -> dict[str, str]:
    """The metadata of a .safetensors file of weights."""
    # The recipe need not be the named preset's: a command may have changed its epochs, and --fit auto its architecture.
    recipe = PRESET.dump_json(preset).decode()
    named = {"preset": preset.name, "architecture": preset.architecture, "recipe": recipe}
    normalisation = TypeAdapter(Normalisation).dump_json(preset.normalisation).decode()
    described = {"data": DATA_CARD.dump_json(data).decode(), "commit": commit, "command": command}
    described |= {"before": json.dumps(before)} if before else {}
    return {**named, "normalisation": normalisation, **described}


def stated_normalisation(described: Mapping[str, str]) -> Normalisation | None:
    """The image normalisation in the metadata of a file of weights; None if an older version wrote the file."""
    stated = described.get("normalisation")
    return None if stated is None else TypeAdapter(Normalisation).validate_json(stated)


def inheriting(data: DataCard, init: Path | None) -> DataCard:
    """`data` with a licence that states that of the first weights in the file `init` too: training on does not end it."""
    first = stated_data(init, read_metadata(init)) if init is not None and init.suffix == ".safetensors" else None
    if first is None:
        return data  # of published weights, or unknown
    if first.licence.startswith(data.licence):  # the same terms, and those that it has inherited itself
        return replace(data, licence=first.licence)
    return replace(data, licence=f"{data.licence} Its first weights: {first.description}; {first.licence}")


def stated_data(weights: Path, described: Mapping[str, str]) -> DataCard | None:
    """The data in the metadata of the file `weights`; None if they name none. Raises InputError if they are not understood."""
    try:
        return DATA_CARD.validate_json(described["data"]) if "data" in described else None
    except ValidationError as error:
        raise InputError(f"{weights} does not say what data it is of, as files of this trainer do") from error


def load_checkpoint(source: Path) -> Checkpoint:
    """Load the best weights of a run folder, or a .safetensors file whose metadata name its preset and data.

    Raises InputError if `source` is neither, if its network is not known, or if the weights do not fit the network.
    """
    if source.is_dir():
        run = RunFolder(source)
        frozen = run.frozen()
        if not run.best.exists():
            raise InputError(f"{source} has no best.safetensors: its first epoch is not over, or its weights were not kept")
        tensors, _ = load_weights(run.best)
        preset, data, commit, command, before = frozen.preset, frozen.data, frozen.commit, frozen.command, frozen.before
    else:
        if not source.exists():
            raise InputError(f"no such file or folder: {source}")
        tensors, described = load_weights(source)
        try:
            preset, commit, command = stated_preset(described), described["commit"], described.get("command", "")
            before = STEPS.validate_json(described.get("before", "[]"))
            data = DATA_CARD.validate_json(described["data"])
        except (KeyError, ValidationError) as error:
            raise InputError(f"{source} does not say which preset and data it is of; give a run folder") from error
    if preset.architecture not in NETWORKS:
        raise InputError(f"{source} is of the network {preset.architecture!r}; known are {', '.join(NETWORKS)}")
    network = NETWORKS[preset.architecture](len(data.classes), preset.normalisation)
    transfer(network, tensors)
    return Checkpoint(preset, data, commit, network.eval(), command, before)


def stated_preset(described: Mapping[str, str]) -> Preset:
    """The preset in the metadata of a file of weights. Raises KeyError, ValidationError, or InputError if it is not known."""
    if "recipe" in described:
        return PRESET.validate_json(described["recipe"])
    preset = find_preset(described["preset"])  # written by an older version
    architecture = described.get("architecture", preset.architecture)
    return replace(preset, architecture=architecture, normalisation=stated_normalisation(described) or preset.normalisation)
