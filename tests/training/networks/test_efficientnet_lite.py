"""The backbone computes what its ImageNet weights were trained for."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tests.photos import photo
from training.errors import InputError
from training.networks.efficientnet_lite import VARIANTS, EfficientNetLite, same_conv
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation
from training.start import efficientnet_lite

VARIANT_NAMES = sorted(VARIANTS)
CATS, CUPS = {281, 282, 285}, {504, 967, 968}  # ImageNet classes: tabby, tiger, Egyptian cat; mug, espresso, cup


def published(variant: str) -> dict[str, Tensor]:
    package = import_module(VARIANTS[variant].package)
    [path] = Path(str(package.__file__)).parent.glob("models/*.pth")
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def pretrained(variant: str) -> FCN:
    network = FCN(EfficientNetLite(variant, Normalisation()), 1, 32)
    efficientnet_lite(network, None)
    return network.eval()


def fingerprint(tensor: Tensor) -> tuple[tuple[int, ...], float]:
    return tuple(tensor.shape), float(tensor.double().sum())


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_every_published_tensor_but_the_classifier_is_loaded(variant: str) -> None:
    backbone = EfficientNetLite(variant, Normalisation())
    copied = efficientnet_lite(FCN(backbone, 1, 32), None)
    theirs = [tensor for name, tensor in published(variant).items() if not name.startswith("_fc.")]
    assert set(copied.copied) == set(backbone.state_dict())
    assert sorted(map(fingerprint, theirs)) == sorted(map(fingerprint, backbone.state_dict().values()))


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_photos_are_recognised(variant: str) -> None:
    network = pretrained(variant)
    classifier = published(variant)
    for name, classes in (("chelsea.png", CATS), ("coffee.png", CUPS)):
        with torch.inference_mode():
            features = network.backbone.forward(as_input(photo(name)))[-1].mean((2, 3))
            best = int((features @ classifier["_fc.weight"].T + classifier["_fc.bias"]).argmax())
        assert best in classes


def as_input(image: Image.Image) -> Tensor:
    """The middle square of a photo at 224 px."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    small = image.resize((224, 224), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("change", ["a missing tensor", "an extra tensor", "another shape"])
def test_a_changed_file_is_refused(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = published("lite0")
    if change == "a missing tensor":
        del weights["_blocks.3._bn1.running_mean"]
    elif change == "an extra tensor":
        weights["_blocks.3._se_reduce.weight"] = torch.zeros(1)
    else:
        weights["_conv_head.weight"] = weights["_conv_head.weight"][:-1]

    def load(*_: object, **__: object) -> dict[str, Any]:
        return weights

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(InputError, match=r"blocks\.3\.filter\.1\.running_mean is missing|_se_reduce|head\.0\.weight is "):
        pretrained("lite0")


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("size", [32, 64])
def test_padding_is_tensorflows_same(kernel: int, stride: int, size: int) -> None:
    layer = same_conv(4, 4, kernel, stride, groups=4)
    [weight] = layer.parameters()
    image = torch.randn(1, 4, size, size + 32)
    padded = image
    for axis, length in ((3, size + 32), (2, size)):  # TensorFlow's rule: the odd pixel goes after
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        margin = [0, 0, 0, 0]
        margin[2 * (3 - axis)], margin[2 * (3 - axis) + 1] = total // 2, total - total // 2
        padded = F.pad(padded, margin)
    torch.testing.assert_close(layer(image), F.conv2d(padded, weight, stride=stride, groups=4))


@pytest.mark.parametrize(("variant", "taps"), [("lite0", (40, 112)), ("lite2", (48, 120))])
def test_features_come_at_their_strides(variant: str, taps: tuple[int, int]) -> None:
    network = EfficientNetLite(variant, Normalisation()).eval()
    with torch.inference_mode():
        shapes = [tuple(feature.shape) for feature in network.forward(torch.zeros(1, 3, 64, 96))]
    assert shapes[2:] == [(1, taps[0], 8, 12), (1, taps[1], 4, 6), (1, 1280, 2, 3)]
    assert [shape[1:] for shape in shapes] == [
        (channels, 64 // stride, 96 // stride) for stride, channels in zip(network.strides, network.channels, strict=True)
    ]
