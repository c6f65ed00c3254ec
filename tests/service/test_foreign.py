"""Models that were not exported here, served through a card beside them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.inference.repository import Repository
from tests.service.answers import assert_problem, mask_in, post, strongest_color
from tests.service.conftest import MakeClient
from tests.service.pictures import encoded, flag

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def foreign_model(layout: str = "NCHW", dtype: str = "float32", domain: str = "", side: int | None = None) -> onnx.ModelProto:
    """A graph as torchvision's exports are: normalised planes in, scores of the input's size out, and another output."""
    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}[dtype]
    spatial: list[str | int] = ["h", "w"] if side is None else [side, side]
    shape = ["n", 3, *spatial] if layout == "NCHW" else ["n", *spatial, 3]
    given = helper.make_tensor_value_info("pixel_values", kind, shape)
    scores = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    other = helper.make_tensor_value_info("aux", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["float"], ["aux"]),
        helper.make_node("Mul", ["float", "two"], ["out"], domain=domain),
    ]
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph(nodes, "foreign", [given], [scores, other], [two])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def write_foreign(folder: Path, model: onnx.ModelProto, **changes: object) -> None:
    """The model and its card, some entries of which are changed; `input` is changed entry by entry."""
    (folder / "foreign.onnx").write_bytes(model.SerializeToString())
    given = {"name": "pixel_values", "mean": MEAN, "std": STD} | dict(changes.pop("input", {}))  # type: ignore[call-overload]
    card = {"name": "foreign", "input": given, "output": {"name": "out"}, "classes": ["red", "green", "blue"]}
    (folder / "foreign.json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_pixels_are_laid_out_as_the_card_says(
    layout: str, dtype: str, channels: str, make_client: MakeClient, tmp_path: Path
) -> None:
    classes = ["red", "green", "blue"][:: 1 if channels == "RGB" else -1]
    neutral = {"mean": (0, 0, 0), "std": (1, 1, 1), "layout": layout, "dtype": dtype, "channels": channels}
    write_foreign(
        tmp_path, foreign_model(layout, dtype), input=neutral, output={"name": "out", "layout": layout}, classes=classes
    )
    client = make_client(models_dir=tmp_path, default_model="foreign")
    answer = post(client, encoded(flag())).json()
    labels = mask_in(answer)
    expected = strongest_color(flag())
    assert np.array_equal(labels, expected if channels == "RGB" else 2 - expected)
    assert [entry["color"] for entry in answer["classes"]] == ["#000000", "#800000", "#008000"]  # VOC's
    assert answer["model"]["precision"] == "fp32"


def test_values_are_normalised_as_the_card_says(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model())
    from service.inference.cancellation import Cancellation

    model = Repository(tmp_path, "cpu").get("foreign").model()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    expected = 2 * ((pixels[0] / 255 - MEAN) / STD).transpose(2, 0, 1)
    assert np.allclose(model.run(pixels, Cancellation()), expected, atol=1e-5)


def test_a_graph_of_one_size_takes_images_of_any(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(side=128), stride=128, long_side=128, input={"mean": (0, 0, 0), "std": (1, 1, 1)})
    client = make_client(models_dir=tmp_path, default_model="foreign")
    answer = post(client, encoded(flag(384, 256))).json()
    assert (mask_in(answer) == strongest_color(flag(384, 256))).mean() > 0.98


def test_a_graph_of_one_size_answers_413_to_a_resolution_that_is_not_its_own(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(side=128), stride=128, long_side=128)
    client = make_client(models_dir=tmp_path, default_model="foreign")
    for resolution in ("native", 200):
        assert_problem(post(client, encoded(flag(384, 256)), resolution=resolution), 413, "one size alone", limit=128 * 128)
    assert post(client, encoded(flag(384, 256)), resolution=100).status_code == 200


def test_a_graph_of_one_size_needs_a_card_that_keeps_to_it(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(side=128), stride=32, long_side=128)
    assert "takes 128x128 alone" in broken(tmp_path)


def test_an_input_that_the_graph_does_not_have_is_told(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(), input={"name": "image"})
    assert "no input 'image' of four dimensions" in broken(tmp_path)


def test_a_stride_that_would_make_the_smallest_image_huge_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(), stride=4096)
    assert "stride" in broken(tmp_path)


def broken(folder: Path) -> str:
    repository = Repository(folder, "cpu")
    assert not repository.models
    [reason] = repository.broken.values()
    return reason


def test_without_a_card_beside_it_a_file_is_left_out(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model())
    (tmp_path / "foreign.json").unlink()
    assert "nor foreign.json beside it" in broken(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": []}, "classes"),
        ({"classes": ["red", "green"]}, r"scores are float32 \(3"),
        ({"output": {"name": "nothing"}}, "nothing"),
        ({"input": {"std": (1, 0, 1)}}, "input.std.1"),
        ({"input": {"layout": "HWC"}}, "input.layout"),
        ({"normalise": True}, "normalise"),
        ({"name": "../escape"}, "name"),
    ],
)
def test_a_card_that_does_not_fit_is_told_by_entry(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    import re

    write_foreign(tmp_path, foreign_model(), **changes)
    assert re.search(said, broken(tmp_path))


def test_a_card_that_is_mended_is_read_again(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(), classes=["red", "green"])
    repository = Repository(tmp_path, "cpu")
    write_foreign(tmp_path, foreign_model(), classes=["red", "green", "blue", "none"])
    for _ in range(2):
        repository.refresh()
    assert not repository.models
    write_foreign(tmp_path, foreign_model())
    for _ in range(2):
        repository.refresh()
    assert list(repository.models) == ["foreign"]


def test_a_file_that_reads_other_files_is_not_loaded(tmp_path: Path) -> None:
    model = foreign_model()
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0\0\0\1")
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("float_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")
    write_foreign(tmp_path, model)
    assert "lies in another file" in broken(tmp_path)


def test_tensors_in_other_files_are_found_in_inner_graphs_too(tmp_path: Path) -> None:
    model = foreign_model()
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])])
    tensor = helper.make_tensor("x", TensorProto.FLOAT, [], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    inner.initializer.append(tensor)
    condition = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model.graph.node.append(condition)
    write_foreign(tmp_path, model)
    assert "lies in another file" in broken(tmp_path)


@pytest.mark.parametrize("location", [TensorProto.EXTERNAL, 1 << 32 | TensorProto.EXTERNAL])
def test_the_place_of_a_tensor_is_read_as_onnx_runtime_reads_it(location: int, tmp_path: Path) -> None:
    content = foreign_model()
    content.graph.initializer[0].ClearField("float_data")
    tensor = content.graph.initializer[0].SerializeToString() + b"\x70" + varint(location)  # field 14
    del content.graph.initializer[:]
    raw = content.SerializeToString()
    graph = content.graph.SerializeToString() + b"\x2a" + varint(len(tensor)) + tensor  # field 5
    content.ClearField("graph")
    raw = content.SerializeToString() + b"\x3a" + varint(len(graph)) + graph  # field 7
    write_foreign(tmp_path, foreign_model())
    (tmp_path / "foreign.onnx").write_bytes(raw)
    assert "lies in another file" in broken(tmp_path)


def varint(value: int) -> bytes:
    """As protobuf writes integers."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def test_sparse_tensors_are_not_loaded(tmp_path: Path) -> None:
    model = foreign_model()
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    write_foreign(tmp_path, model)
    assert "sparse" in broken(tmp_path)


def test_operators_of_other_libraries_are_not_loaded(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(domain="my.company"))
    assert "custom operators are not loaded" in broken(tmp_path)
