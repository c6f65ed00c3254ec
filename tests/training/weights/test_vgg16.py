"""Surgery: every number of a published file is at its place in the network, or the file is refused."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.narrow_vgg16 import NARROW_LIGHT, narrow_paper_fcn, narrow_vgg16
from tests.tiny_network import tiny_fcn
from tests.training.weights.files import connected, convolutions, write_caffe, write_hed, write_torchvision
from training.errors import InputError
from training.networks.fcn import FCN
from training.networks.network import SegmentationNetwork
from training.weights.hed import IN_WHEEL
from training.weights.vgg16 import CONNECTED, PUBLISHED, load_vgg16

Write = Callable[[Path, Mapping[str, Tensor]], Path]


def write_new_caffe(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    return write_caffe(path, tensors, old=False)


def write_wheel(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    inner = write_hed(path.with_suffix(".h5"), tensors)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(inner, IN_WHEEL)
    return path


FULL: list[tuple[str, Write]] = [
    ("vgg16-torchvision", write_torchvision),
    ("vgg16-caffe", write_caffe),
    ("vgg16-caffe", write_new_caffe),
]
EDGES: list[tuple[str, Write]] = [("vgg16-hed", write_hed), ("vgg16-hed", write_wheel)]


def light_fcn() -> FCN:
    return FCN(narrow_vgg16(NARROW_LIGHT), 3, 8, dropout=0.0)


def by_known_name(network: SegmentationNetwork) -> dict[str, Tensor]:
    """The backbone's tensors, copied."""
    return {".".join(name.split(".")[-2:]): tensor.clone() for name, tensor in network.backbone.state_dict().items()}


@pytest.mark.parametrize(("source", "write"), FULL)
def test_the_papers_network_gets_every_layer_the_connected_ones_as_convolutions(
    source: str, write: Write, tmp_path: Path
) -> None:
    published = convolutions() | connected()
    network = narrow_paper_fcn(8)
    copied = load_vgg16(PUBLISHED[source], network, write(tmp_path / "weights", published))
    found = by_known_name(network)
    expected = {name: tensor for name, tensor in published.items() if not name.startswith("fc8")}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].flatten(), tensor.flatten()), name
    assert (len(copied.copied), copied.fresh, set(copied.unused)) == (30, (), {"fc8.weight", "fc8.bias"})


def test_fc6_as_a_convolution_says_what_it_said_as_a_matrix(tmp_path: Path) -> None:
    published = convolutions() | connected()
    network = narrow_paper_fcn(32)
    load_vgg16(PUBLISHED["vgg16-torchvision"], network, write_torchvision(tmp_path / "weights", published))
    pool5 = torch.randn(2, 6, 7, 7)
    fc6 = network.backbone.get_submodule("connected.fc6")
    torch.testing.assert_close(fc6(pool5).flatten(1), pool5.flatten(1) @ published["fc6.weight"].T + published["fc6.bias"])


@pytest.mark.parametrize(("source", "write"), [*FULL, *EDGES])
def test_the_light_network_gets_the_convolutions_and_says_that_the_rest_is_new(
    source: str, write: Write, tmp_path: Path
) -> None:
    published = convolutions()
    network = light_fcn()
    drawn = by_known_name(network)
    copied = load_vgg16(PUBLISHED[source], network, write(tmp_path / "weights", published))
    found = by_known_name(network)
    for name, tensor in found.items():
        assert torch.equal(tensor, drawn[name] if name in CONNECTED else published[name]), name
    assert len(copied.copied) == len(published)
    assert {name.removeprefix("connected.") for name in copied.fresh} == set(CONNECTED)
    assert "4 tensors new (connected.fc6, connected.fc7)" in str(copied)


def test_what_the_light_network_has_no_place_for_is_said_to_be_unused(tmp_path: Path) -> None:
    file = write_caffe(tmp_path / "weights", convolutions() | connected())
    copied = load_vgg16(PUBLISHED["vgg16-caffe"], light_fcn(), file)
    assert set(copied.unused) == {*CONNECTED, "fc8.weight", "fc8.bias"}


def test_edge_detection_weights_are_called_a_stand_in(tmp_path: Path) -> None:
    copied = load_vgg16(PUBLISHED["vgg16-hed"], narrow_paper_fcn(8), write_hed(tmp_path / "weights", convolutions()))
    assert "a stand-in" in str(copied)
    assert {name.removeprefix("connected.") for name in copied.fresh} == set(CONNECTED)


@pytest.mark.parametrize(("source", "write"), [*FULL, *EDGES])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "stages.3.conv4_2.bias is missing"),
        ("extra", "conv5_4.weight has no place"),
        ("misshaped", r"stages.2.conv3_1.weight is \(4, 3, 3, 2\) instead of \(4, 3, 3, 3\)"),
    ],
)
def test_a_miss_is_refused_by_name_and_nothing_is_copied(
    source: str, write: Write, change: str, message: str, tmp_path: Path
) -> None:
    published = convolutions()
    if change == "missing":
        del published["conv4_2.bias"]
    elif change == "extra":
        published["conv5_4.weight"] = torch.zeros(6, 6, 3, 3)
    else:
        published["conv3_1.weight"] = published["conv3_1.weight"][..., :2].contiguous()
    network = light_fcn()
    drawn = by_known_name(network)
    with pytest.raises(InputError, match=message):
        load_vgg16(PUBLISHED[source], network, write(tmp_path / "weights", published))
    assert all(torch.equal(tensor, drawn[name]) for name, tensor in by_known_name(network).items())


def test_the_papers_network_refuses_a_file_without_its_connected_layers(tmp_path: Path) -> None:
    file = write_torchvision(tmp_path / "weights", convolutions())
    with pytest.raises(InputError, match=r"connected\.fc6\.weight is missing"):
        load_vgg16(PUBLISHED["vgg16-torchvision"], narrow_paper_fcn(32), file)


@pytest.mark.parametrize("source", PUBLISHED)
def test_a_file_of_another_kind_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"<html>moved</html>")
    with pytest.raises(InputError, match="cannot be read as"):
        load_vgg16(PUBLISHED[source], narrow_paper_fcn(32), tmp_path / "weights")


def test_published_weights_take_a_stand_ins_place_by_their_files_suffix(tmp_path: Path) -> None:
    published = convolutions() | connected()
    network = light_fcn()
    copied = load_vgg16(PUBLISHED["vgg16-hed"], network, write_caffe(tmp_path / "mine.caffemodel", published))
    assert copied.remark == "CC BY 4.0"
    found = by_known_name(network)
    assert all(torch.equal(found[name], tensor) for name, tensor in published.items() if name.startswith("conv"))
    with pytest.raises(InputError, match="normalised otherwise"):
        load_vgg16(PUBLISHED["vgg16-hed"], network, write_torchvision(tmp_path / "mine.pth", published))


def test_a_broken_caffe_blob_is_refused_by_name(tmp_path: Path) -> None:
    published = convolutions()
    file = write_caffe(tmp_path / "weights", published)
    content = file.read_bytes()
    numbers = published["conv1_1.bias"].numpy().tobytes()
    assert content.count(b"\x2a\x08" + numbers) == 1  # field 5, 8 bytes
    file.write_bytes(content.replace(b"\x2a\x08" + numbers, b"\x7a\x08" + numbers))  # as an unknown field 15
    with pytest.raises(InputError, match=r"conv1_1\.bias holds 0 numbers instead of \[2\]"):
        load_vgg16(PUBLISHED["vgg16-caffe"], light_fcn(), file)


def test_a_file_that_bears_the_published_name_must_be_the_published_file(tmp_path: Path) -> None:
    published = PUBLISHED["vgg16-torchvision"]
    file = write_torchvision(tmp_path / published.name, convolutions())
    with pytest.raises(InputError, match=f"SHA-256 is [0-9a-f]+ instead of {published.sha256}"):
        load_vgg16(published, light_fcn(), file)
    right = replace(published, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(load_vgg16(right, light_fcn(), file).copied) == 26


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="need a network on VGG-16"):
        load_vgg16(PUBLISHED["vgg16-hed"], tiny_fcn(3), write_hed(tmp_path / "weights", convolutions()))
