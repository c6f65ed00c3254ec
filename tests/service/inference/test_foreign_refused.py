"""Foreign models that are not served: cards that do not fit, graphs that would read or run what they must not, or not end."""

from pathlib import Path

import pytest
from onnx import NodeProto, TensorProto, helper

from service.inference.files import onnx_file
from service.inference.models import model, trial
from service.inference.models.repository import Repository
from service.inference.sessions import runner
from tests.service.helpers.foreign_models import broken, endless_model, foreign_model, model_of, write_foreign
from tests.service.helpers.model_folders import with_card


def test_without_a_card_beside_it_a_file_is_left_out(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model())
    (tmp_path / "foreign.json").unlink()
    assert "nor foreign.json beside it" in broken(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": []}, "classes"),
        ({"classes": ["red", "green"]}, "scores of an image"),
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


def test_an_input_that_the_graph_does_not_have_is_told(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(), input={"name": "image"})
    assert "no input 'image' of four dimensions" in broken(tmp_path)


@pytest.mark.parametrize("long_side", [64, None])
def test_a_graph_that_holds_the_size_of_what_it_was_exported_with_is_refused(long_side: int | None, tmp_path: Path) -> None:
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, "h", "w"])
    scores = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    side = long_side or 8
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 3, side, side])
    nodes = [helper.make_node("Resize", ["pixel_values", "", "", "sizes"], ["out"], mode="linear")]
    graph = helper.make_graph(nodes, "baked", [given], [scores], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    write_foreign(tmp_path, model, stride=8, long_side=long_side)
    assert "its card says" in broken(tmp_path)


def test_a_graph_whose_scores_of_a_test_image_are_not_finite_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path, model_of("Log"), input={"mean": [0.9] * 3})  # of a grey that is darker
    assert broken(tmp_path) == "its scores of a test image are not finite"


def test_a_stride_that_would_make_the_smallest_image_huge_is_refused(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(), stride=4096)
    assert "stride" in broken(tmp_path)


def test_a_file_that_reads_other_files_is_not_loaded(tmp_path: Path) -> None:
    model = foreign_model()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("float_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")
    write_foreign(tmp_path, model)
    assert "lies in another file" in broken(tmp_path)


ELSEWHERE = TensorProto(name="x", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
INNER = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, [])], [ELSEWHERE])


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("If", ["c"], ["y"], then_branch=INNER, else_branch=INNER),
        helper.make_node("Constant", [], ["y"], value=ELSEWHERE),
    ],
    ids=["an inner graph", "a constant"],
)
def test_tensors_in_other_files_are_found_within_nodes_too(node: NodeProto, tmp_path: Path) -> None:
    model = foreign_model()
    model.graph.node.append(node)
    write_foreign(tmp_path, model)
    assert "lies in another file" in broken(tmp_path)


@pytest.mark.parametrize("location", [TensorProto.EXTERNAL, 1 << 32 | TensorProto.EXTERNAL])
def test_the_place_of_a_tensor_is_read_as_onnx_runtime_reads_it(location: int, tmp_path: Path) -> None:
    content = foreign_model()
    content.graph.initializer[0].ClearField("float_data")
    tensor = content.graph.initializer[0].SerializeToString() + b"\x70" + varint(location)  # field 14
    del content.graph.initializer[:]
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


@pytest.mark.timeout(30)
@pytest.mark.parametrize("dims", [[1 << 62] * 10_000, [1] * 9, [1 << 62, 1 << 62], [-1, -1]])
def test_a_tensor_of_an_impossible_shape_is_refused_at_once(dims: list[int], tmp_path: Path) -> None:
    """The product of many large numbers takes minutes, in which the service would answer nobody."""
    model = foreign_model()
    model.graph.initializer.append(TensorProto(name="unused", data_type=TensorProto.FLOAT, dims=dims))
    write_foreign(tmp_path, model)
    assert "tensor 'unused' has an impossible shape" in broken(tmp_path)


def field(number: int, content: bytes) -> bytes:
    """As protobuf writes text, a message or packed integers."""
    return varint(number << 3 | 2) + varint(len(content)) + content


MANY = 250_000
CROWDED = {
    "nodes": field(7, field(1, b"") * MANY),
    "constants": field(7, field(5, b"") * MANY),
    "nodes within a node": field(7, field(1, field(5, field(6, field(1, b"") * MANY)))),
    "inputs of a node": field(7, field(1, field(1, b"") * MANY)),
    "dimensions": field(7, field(5, field(1, bytes(MANY)))),
    "metadata": field(14, b"") * MANY,
    "fields that ONNX does not know": field(99, b"") * MANY,
}


@pytest.mark.parametrize("name", CROWDED)
def test_a_file_of_more_parts_than_networks_have_is_refused_before_it_is_parsed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parsed form takes a hundred times its size."""
    (tmp_path / "crowded.onnx").write_bytes(CROWDED[name])
    monkeypatch.setattr(onnx_file, "_messages", None)
    assert "more than 200000 fields" in broken(tmp_path)


def test_the_values_of_a_tensor_are_not_counted_among_a_files_parts(tmp_path: Path) -> None:
    model = foreign_model()
    model.graph.initializer.append(helper.make_tensor("numbers", TensorProto.FLOAT, [MANY], [1.0] * MANY))
    write_foreign(tmp_path, model)
    assert list(Repository(tmp_path, "cpu").models) == ["foreign"]


def test_a_card_larger_than_cards_are_is_not_read(tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(), licence="x" * 1_000_000)
    assert "foreign.json is not valid: it has 1000" in broken(tmp_path)
    (tmp_path / "foreign.onnx").write_bytes(with_card(recipe="x" * 1_000_000))
    assert "the card in it is not valid: it has 1000" in broken(tmp_path)


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


def test_operators_of_other_libraries_are_found_within_functions_too(tmp_path: Path) -> None:
    model = foreign_model()
    node = helper.make_node("Op", ["x"], ["y"], domain="my.company")
    function = helper.make_function("mine", "F", ["x"], ["y"], [node], [helper.make_opsetid("my.company", 1)])
    model.functions.append(function)
    write_foreign(tmp_path, model)
    assert "operator Op is of 'my.company': custom operators are not loaded" in broken(tmp_path)


@pytest.mark.timeout(60)
def test_a_graph_whose_test_image_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "TRIAL_S", 0.5)
    write_foreign(tmp_path, endless_model())
    assert broken(tmp_path) == "to load it and to run test images takes longer than 1 s"


@pytest.mark.timeout(60)
def test_a_warm_up_that_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "reported_device", lambda session: "cuda")  # a session of the CPU that says it is on a GPU
    monkeypatch.setattr(trial, "try_out", lambda *_, **__: None)
    monkeypatch.setattr(model.Model, "_try_out", lambda *_: None)
    monkeypatch.setattr(model, "TRIAL_S", 0.5)
    write_foreign(tmp_path, endless_model(), long_side=64)
    assert broken(tmp_path) == "a test image takes longer than 0.5 s"
