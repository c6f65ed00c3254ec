"""Models that were not exported here, served through a card beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from service.inference import model, runner
from service.inference.batching import SIZES
from service.inference.cancellation import Cancellation
from service.inference.repository import Repository
from tests.service.answers import assert_problem, labels_of, mask_in, mask_of, post, strongest_color
from tests.service.conftest import MakeClient
from tests.service.pictures import encoded, flag, oriented
from tests.service.reference import margins, reference_scores

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def foreign_model(
    layout: str = "NCHW",
    dtype: str = "float32",
    domain: str = "",
    size: tuple[int | str, int | str] = ("w", "h"),
    batch: int | str = "n",
    output_stride: int = 1,
) -> onnx.ModelProto:
    """A graph as torchvision's exports are: normalised planes in, scores of the input's size out, and another output.

    `size` is (width, height). With an output stride, which is of planes only, scores are means.
    """
    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}[dtype]
    width, height = size
    shape = [batch, 3, height, width] if layout == "NCHW" else [batch, height, width, 3]
    cell = [output_stride, output_stride]
    given = helper.make_tensor_value_info("pixel_values", kind, shape)
    scores = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    other = helper.make_tensor_value_info("aux", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["float"], ["aux"]),
        helper.make_node("AveragePool", ["float"], ["means"], kernel_shape=cell, strides=cell),
        helper.make_node("Mul", ["float" if output_stride == 1 else "means", "two"], ["out"], domain=domain),
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

    model = Repository(tmp_path, "cpu").get("foreign").model()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    expected = 2 * ((pixels[0] / 255 - MEAN) / STD).transpose(2, 0, 1)
    assert np.allclose(model.run(pixels, Cancellation()), expected, atol=1e-5)


def test_a_graph_of_one_size_takes_images_of_any(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(
        tmp_path, foreign_model(size=(128, 128)), stride=128, long_side=128, input={"mean": (0, 0, 0), "std": (1, 1, 1)}
    )
    client = make_client(models_dir=tmp_path, default_model="foreign")
    answer = post(client, encoded(flag(384, 256))).json()
    assert (mask_in(answer) == strongest_color(flag(384, 256))).mean() > 0.98


def scene(width: int, height: int) -> Image.Image:
    """Soft patches of all colours."""
    patches = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def expected_scores(image: Image.Image, size: tuple[int, int], output_stride: int = 1) -> NDArray[np.float64]:
    """(C, H, W): the image is shrunk into a corner of `size` (width, height), and its scores are enlarged to its own size."""
    scale = min(1, size[0] / image.width, size[1] / image.height)
    working = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", size, (127, 127, 127))
    canvas.paste(image.resize(working, Image.Resampling.BILINEAR) if scale < 1 else image)
    planes = ((np.asarray(canvas) / 255 - MEAN) / STD).transpose(2, 0, 1)
    cells = planes.reshape(3, size[1] // output_stride, output_stride, size[0] // output_stride, output_stride)
    return reference_scores(2 * cells.mean((2, 4)).astype(np.float32), working, image.size, output_stride)


def assert_labels_are(client: TestClient, image: Image.Image, scores: NDArray[np.float64], **query: str | int) -> None:
    """The mask has the image's size, every pixel is counted, and its label is that of the scores, unless they are tied."""
    response = post(client, encoded(image), **query)
    assert response.status_code == 200, response.text
    answer = response.json()
    labels = mask_in(answer)
    assert labels.shape == (image.height, image.width)
    assert sum(entry["pixels"] for entry in answer["classes"]) == image.width * image.height
    clear = margins(scores) > 1e-4
    assert clear.mean() > 0.99
    assert (labels == scores.argmax(0))[clear].all()


@pytest.mark.parametrize(
    "image",
    [(500, 200), (150, 430), (1, 1), (100, 60), (320, 192), (1100, 900), (3000, 1), (2, 1500)],
    ids=["landscape", "portrait", "one pixel", "small", "as the graph", "large", "a line", "a column"],
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_graph_of_one_size_that_is_not_square_needs_no_size_in_its_card(
    layout: str, image: tuple[int, int], make_client: MakeClient, tmp_path: Path
) -> None:
    model = foreign_model(layout, size=(320, 192), batch=1)
    write_foreign(tmp_path, model, input={"layout": layout}, output={"name": "out", "layout": layout})
    client = make_client(models_dir=tmp_path, default_model="foreign")
    assert_labels_are(client, scene(*image), expected_scores(scene(*image), (320, 192)))


@pytest.mark.parametrize(("size", "output_stride"), [((1920, 1080), 1), ((1024, 2048), 8), ((2048, 72), 4)])
def test_the_one_size_may_be_large_and_its_scores_coarse(
    size: tuple[int, int], output_stride: int, make_client: MakeClient, tmp_path: Path
) -> None:
    model = foreign_model(size=size, batch=1, output_stride=output_stride)
    write_foreign(tmp_path, model, output_stride=output_stride)
    client = make_client(models_dir=tmp_path, default_model="foreign")
    for image in (scene(300, 1400), scene(2500, 200)):
        assert_labels_are(client, image, expected_scores(image, size, output_stride))


def test_an_image_that_is_stored_turned_is_fitted_upright(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(size=(320, 192), batch=1))
    client = make_client(models_dir=tmp_path, default_model="foreign")
    upright = scene(400, 600)
    turned = post(client, oriented(upright, 6, "PNG"), format="mask")
    assert (labels_of(turned.content) == mask_of(client, encoded(upright))).all()
    fits, does_not = scene(300, 180), scene(180, 300)
    assert post(client, oriented(fits, 6, "PNG"), resolution="native").status_code == 200
    assert_problem(post(client, oriented(does_not, 6, "PNG"), resolution="native"), 413, "one size alone", limit=320 * 192)


def test_a_graph_of_one_size_answers_413_to_a_resolution_that_does_not_fit_into_it(
    make_client: MakeClient, tmp_path: Path
) -> None:
    write_foreign(tmp_path, foreign_model(size=(128, 96)))
    client = make_client(models_dir=tmp_path, default_model="foreign")
    for resolution in ("native", 200):
        assert_problem(post(client, encoded(flag(384, 256)), resolution=resolution), 413, "one size alone", limit=128 * 96)
    assert_problem(post(client, encoded(flag(100, 128)), resolution="native"), 413, "one size alone", limit=128 * 96)
    for fits in (100, 128):
        assert post(client, encoded(flag(384, 256)), resolution=fits).status_code == 200
    assert_labels_are(client, scene(120, 90), expected_scores(scene(120, 90), (128, 96)), resolution="native")


def test_a_card_may_have_images_shrunk_further_than_to_the_one_size(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(size=(128, 96)), long_side=64)
    client = make_client(models_dir=tmp_path, default_model="foreign")
    by_card = mask_of(client, encoded(scene(300, 200)))
    assert (by_card == mask_of(client, encoded(scene(300, 200)), resolution=64)).all()


@pytest.mark.parametrize(("long_side", "told"), [(None, 320), (200, 200), (1024, 320)])
def test_the_card_that_is_told_has_the_one_size_in_it(
    long_side: int | None, told: int, make_client: MakeClient, tmp_path: Path
) -> None:
    write_foreign(tmp_path, foreign_model(size=(320, 200), output_stride=8), output_stride=8, long_side=long_side)
    card = make_client(models_dir=tmp_path, default_model="foreign").get("/models/foreign").json()
    assert (card["stride"], card["long_side"]) == (8, told)


def test_a_size_that_is_written_as_minus_one_is_free(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(size=(-1, -1), batch=-1))
    image = flag(160, 96)
    assert (mask_of(make_client(models_dir=tmp_path, default_model="foreign"), encoded(image)) == strongest_color(image)).all()


@pytest.mark.parametrize(
    ("graph", "changes", "said"),
    [
        ({"size": (520, 512)}, {"stride": 32}, "takes 520x512 alone, no multiple of stride 32"),
        ({"size": (512, 520)}, {"stride": 32, "long_side": 520}, "takes 512x520 alone, no multiple of stride 32"),
        ({"size": (520, 100)}, {"output_stride": 8}, "takes 520x100 alone, no multiple of output_stride 8"),
        ({"size": (520, 104)}, {"output_stride": 8}, "its scores are float32 (3, 104, 520)"),
        ({"size": (96, 96)}, {"output_stride": 32, "stride": 48}, "stride must be a multiple of output_stride"),
        ({"size": (2048, 2048)}, {"output_stride": 2048}, "stride: Input should be less than or equal to 1024"),
        ({"size": ("w", 512)}, {}, "fixes its height alone"),
        ({"size": (512, "h")}, {}, "fixes its width alone"),
        ({"size": (4000, 3000)}, {}, "takes 4000x3000 alone; without a halo the limit is"),
        ({"size": (1 << 40, 1 << 40)}, {}, "the limit is"),
        ({"size": (64, 64), "batch": 4}, {}, "takes 4 images at once"),
    ],
)
def test_a_graph_of_one_size_that_its_card_does_not_suit_is_told(
    graph: dict[str, Any], changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    write_foreign(tmp_path, foreign_model(**graph), **changes)
    assert said in broken(tmp_path)


@pytest.mark.usefixtures("says_cuda")
def test_on_a_gpu_a_graph_of_one_size_is_warmed_in_that_size_alone(ran: list[tuple[int, int, int]], tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(size=(128, 96)))
    assert Repository(tmp_path, "cpu").models
    assert set(ran) == {(number, 96, 128) for number in SIZES}


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


def endless_model() -> onnx.ModelProto:
    """A graph that adds 0 to its input 2^40 times."""
    step = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes_on"]), helper.make_node("Add", ["sum", "zero"], ["next"])],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    constants = [
        helper.make_tensor("steps", TensorProto.INT64, [], [1 << 40]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
    ]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["steps", "true", "pixel_values"], ["out"], body=step)],
        "endless",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.timeout(60)
def test_a_graph_whose_test_image_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "TRIAL_S", 0.5)
    write_foreign(tmp_path, endless_model())
    assert broken(tmp_path) == "a test image takes longer than 0.5 s"


@pytest.mark.timeout(60)
def test_a_warm_up_that_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "reported_device", lambda session: "cuda")  # a session of the CPU that says it is on a GPU
    monkeypatch.setattr(model.Model, "_try_out", lambda *_: None)
    monkeypatch.setattr(model, "TRIAL_S", 0.5)
    write_foreign(tmp_path, endless_model(), long_side=64)
    assert broken(tmp_path) == "a test image takes longer than 0.5 s"


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("operator", "mean"), [("Sqrt", 0.3), ("Reciprocal", 0), ("Log", 0)], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("form", ["json", "mask", "overlay"])
def test_scores_that_are_not_finite_are_no_result(
    form: str, operator: str, mean: float, make_client: MakeClient, tmp_path: Path
) -> None:
    graph = helper.make_graph(
        [helper.make_node(operator, ["pixel_values"], ["out"])],
        operator,
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    one = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    write_foreign(tmp_path, one, input={"mean": [mean] * 3, "std": (1, 1, 1)})  # finite on the grey of a test image
    client = make_client(models_dir=tmp_path, default_model="foreign")
    assert post(client, encoded(Image.new("RGB", (70, 50), "grey")), format=form).status_code == 200
    black_corner = Image.new("RGB", (70, 50), "grey")
    black_corner.paste("black", (0, 0, 3, 2))
    assert_problem(post(client, encoded(black_corner), format=form), 503, "gives scores that are not finite")
