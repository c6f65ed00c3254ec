"""A tiny network that the trainer knows by name, a made-up data set, and an export of the one for the other."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch

from tests.shapes import write_shapes
from tests.tiny_network import ARCHITECTURE, DATASET, PRESET, tiny_fcn
from training.checkpoint import Checkpoint, load_checkpoint
from training.export.card import Measurements
from training.export.empty_scenes import find_scenes
from training.export.files import export
from training.networks import NETWORKS
from training.presets import PRESETS
from training.train import train


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums in one order: results are the same bit for bit."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def tiny_is_known() -> Iterator[None]:
    """The tiny network and its recipe, by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, ARCHITECTURE, tiny_fcn)
        patch.setitem(PRESETS, PRESET.name, PRESET)
        yield


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small data set of shapes."""
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", train=12, val=4)


@pytest.fixture(scope="session")
def run(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished, short run; not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(PRESET, DATASET, shapes, out, workers=0)
    return out


@pytest.fixture(scope="session")
def checkpoint(run: Path) -> Checkpoint:
    """The best network of that run."""
    return load_checkpoint(run)


@pytest.fixture(scope="session")
def models(checkpoint: Checkpoint, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with that network as tiny.onnx and tiny.safetensors; not to be written to."""
    out = tmp_path_factory.mktemp("models")
    scenes = find_scenes(["background"], sorted((shapes / "JPEGImages").glob("val*.jpg")))
    export(checkpoint, out, "tiny", Measurements(DATASET.evaluation(shapes, "val"), scenes=(scenes,)))
    return out


@pytest.fixture(scope="session")
def graph(models: Path) -> onnx.ModelProto:
    """The graph of that network in `models`, as it was exported; not to be changed."""
    graph = onnx.load(models / "tiny.onnx")
    del graph.metadata_props[:]
    return graph
