"""What is exported as one would export torchvision's segmentation networks is served through a card beside it."""

import json
import logging
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim

from service.app import create_app
from service.settings import Settings
from tests.photos import photo
from tests.service.helpers.answers import mask_of
from tests.service.helpers.pictures import encoded
from tests.service.helpers.reference import margins, reference_scores

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = ["background", "aeroplane", "bicycle", "bird"]


def block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution as in torchvision's ResNets."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two convolutions, and a shortcut past them."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(block(inputs, outputs, stride), block(outputs, outputs, 1, dilation))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolutions(x) + self.shortcut(x))


class FCNHead(nn.Sequential):
    """As torchvision's of that name."""

    def __init__(self, inputs: int) -> None:
        super().__init__(block(inputs, inputs // 4), nn.Dropout(0.1), nn.Conv2d(inputs // 4, len(CLASSES), 1))


class SmallFCN(nn.Module):
    """As torchvision's FCN on a ResNet: dilated, at stride 8; its scores are enlarged in the graph, and it gives others too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.layer3, self.layer4 = Residual(8, 16, stride=2, dilation=1), Residual(16, 16, stride=1, dilation=2)
        self.classifier, self.aux_classifier = FCNHead(16), FCNHead(16)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.layer3(self.stem(x))
        scores = OrderedDict(out=self.classifier(self.layer4(features)), aux=self.aux_classifier(features))
        for name, coarse in scores.items():
            scores[name] = F.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return scores


@pytest.fixture(scope="module")
def network() -> SmallFCN:
    """Drawn at random; its normalisations have the statistics of noise, so that no layer is silent."""
    torch.manual_seed(0)
    network = SmallFCN()
    with torch.no_grad():
        for _ in range(30):
            network(torch.randn(2, 3, 64, 64))
    return network.eval()


def write(network: SmallFCN, folder: Path, fixed: tuple[int, int] | None, **card: object) -> None:
    """The network, of any height and width or of `fixed` ones, as docs/serving.md says; and a card beside it."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # as in training.export.graph
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *fixed) if fixed else torch.zeros(2, 3, 96, 128),),
            folder / "small-fcn.onnx",
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["input"],
            output_names=["out", "aux"],
            dynamic_shapes=None if fixed else {"x": {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}},
        )
    given = {"name": "input", "layout": "NCHW", "dtype": "float32", "mean": MEAN, "std": STD}
    card |= {"name": "small-fcn", "input": given, "output": {"name": "out"}, "classes": CLASSES}
    (folder / "small-fcn.json").write_text(json.dumps(card))


def scores_by_torch(network: SmallFCN, image: Image.Image, height: int, width: int) -> NDArray[np.float32]:
    """(C, height, width): of the image, padded."""
    pixels = np.full((height, width, 3), 127, np.uint8)
    pixels[: image.height, : image.width] = np.asarray(image)
    normalised = ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)
    with torch.no_grad():
        scores: NDArray[np.float32] = network(torch.from_numpy(normalised)[None])["out"][0].numpy()
    return scores


def assert_labels_are_those_of_torch(
    network: SmallFCN, client: TestClient, size: tuple[int, int], working: tuple[int, int], padded: tuple[int, int]
) -> None:
    """For an image of `size` that the network sees at its `working` size, `padded`; (width, height) each."""
    image = photo("chelsea.png").resize(size)
    scores = scores_by_torch(network, image.resize(working, Image.Resampling.BILINEAR), padded[1], padded[0])
    labels = mask_of(client, encoded(image))
    enlarged = reference_scores(scores, working, size, 1)  # the very scores where the two sizes are one
    clear = margins(enlarged) > 1e-4
    assert clear.mean() > 0.99
    assert (labels == enlarged.argmax(0))[clear].all()
    assert len(np.unique(labels)) > 2


def test_a_graph_of_any_size_gives_the_labels_of_torch(network: SmallFCN, tmp_path: Path) -> None:
    write(network, tmp_path, None, stride=8, long_side=128)
    with TestClient(create_app(Settings(models_dir=tmp_path, default_model="small-fcn"))) as client:
        assert_labels_are_those_of_torch(network, client, (120, 96), (120, 96), (120, 96))
        assert_labels_are_those_of_torch(network, client, (77, 101), (77, 101), (80, 104))
        assert_labels_are_those_of_torch(network, client, (300, 200), (128, 85), (128, 88))


def test_a_graph_of_one_size_gives_the_labels_of_torch(network: SmallFCN, tmp_path: Path) -> None:
    write(network, tmp_path, (104, 200))
    with TestClient(create_app(Settings(models_dir=tmp_path, default_model="small-fcn"))) as client:
        assert_labels_are_those_of_torch(network, client, (200, 104), (200, 104), (200, 104))
        assert_labels_are_those_of_torch(network, client, (77, 101), (77, 101), (200, 104))
        assert_labels_are_those_of_torch(network, client, (312, 416), (78, 104), (200, 104))
