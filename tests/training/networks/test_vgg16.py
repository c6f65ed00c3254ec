"""VGG-16 in its two geometries."""

import numpy as np
import torch
from torch import nn

from service.contract import INPUT_NAME, OUTPUT_NAME
from tests.narrow_vgg16 import NARROW_PAPER, narrow_vgg16
from tests.tiny_network import draw_weights
from training.evaluate import torch_scorer
from training.export.graph import to_onnx
from training.networks.complexity import parameters
from training.networks.fcn import FCN
from training.networks.normalisation import Normalisation
from training.networks.vgg16 import CAFFE_NORMALISATION, LIGHT, PAPER, Vgg16
from training.onnx_model import open_session

PUBLISHED = 138_357_544  # parameters of VGG-16 with its three fully connected layers


def test_the_papers_geometry_has_the_published_parameters_less_the_classifier() -> None:
    with torch.device("meta"):
        assert parameters(Vgg16(PAPER, Normalisation())) == PUBLISHED - (4096 * 1000 + 1000)


def test_the_light_geometry_has_the_published_convolutions_and_fewer_behind_them() -> None:
    with torch.device("meta"):
        light = Vgg16(LIGHT, Normalisation())
    assert parameters(light.stages) == 14_714_688
    assert parameters(light.connected) == 3 * 3 * 512 * 1024 + 1024 + 1024 * 1024 + 1024


def test_layers_bear_their_well_known_names_in_order() -> None:
    names = [name.removesuffix(".weight") for name in narrow_vgg16().published_names().values() if name.endswith("weight")]
    counts = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
    assert names == [f"conv{stage}_{n}" for stage, count in counts.items() for n in range(1, count + 1)] + ["fc6", "fc7"]


def test_the_light_geometry_gives_each_map_the_size_of_its_stride() -> None:
    backbone = narrow_vgg16().eval()
    sizes = [tuple(feature.shape[1:]) for feature in backbone.forward(torch.zeros(1, 3, 64, 160))]
    strides = zip(backbone.channels, backbone.strides, strict=True)
    assert sizes == [(channels, 64 // stride, 160 // stride) for channels, stride in strides]


def test_the_papers_geometry_rounds_up_where_it_pools_as_caffe_does() -> None:
    # 500x375 is VOC's usual size: 698x573 behind conv1_1, then halved and rounded up each time; fc6 takes six more.
    _, _, pool3, pool4, fc7 = narrow_vgg16(NARROW_PAPER).eval().forward(torch.zeros(1, 3, 375, 500))
    assert [tuple(feature.shape[2:]) for feature in (pool3, pool4, fc7)] == [(72, 88), (36, 44), (12, 16)]


def test_random_weights_keep_the_scale_of_an_image_to_the_last_layer() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        [first, *_, last] = Vgg16(LIGHT, Normalisation()).eval().forward(image)
    assert 0.2 < float(last.std() / first.std()) < 5


def test_what_bgr_weights_see_is_blue_first_less_the_mean() -> None:
    seen = Vgg16(LIGHT, CAFFE_NORMALISATION).normalise(torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(seen, torch.tensor([30 - 104.00699, 20 - 116.66877, 10 - 122.67892]))


def test_frozen_strides_are_whole_stages() -> None:
    backbone = narrow_vgg16()
    backbone.freeze(4)
    frozen = {name.split(".")[-2] for name, tensor in backbone.named_parameters() if not tensor.requires_grad}
    assert frozen == {"conv1_1", "conv1_2", "conv2_1", "conv2_2"}


def test_recomputing_changes_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        backbone = narrow_vgg16()
        backbone.recompute = recompute
        torch.manual_seed(1)  # dropout
        features = torch.cat([feature.flatten() for feature in backbone.forward(torch.ones(1, 3, 64, 64))])
        features.sum().backward()  # type: ignore[no-untyped-call]
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    torch.testing.assert_close(*gradients)


def test_dropout_follows_fc6_and_fc7_as_in_the_paper() -> None:
    kinds = [type(layer) for layer in narrow_vgg16().connected]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.Dropout] * 2


def test_the_light_geometry_exports_with_free_batch_and_size() -> None:
    network = FCN(narrow_vgg16(), 3, 8, dropout=0.0).eval()
    draw_weights(network.scores)
    session, reference = open_session(to_onnx(network).SerializeToString(), "here"), torch_scorer(network)
    for shape in ((1, 32, 32), (3, 96, 32), (1, 32, 224)):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        [found] = session.run([OUTPUT_NAME], {INPUT_NAME: image})
        expected = reference(image)
        assert expected.shape == (shape[0], 3, shape[1] // 8, shape[2] // 8)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
