"""Images too large to run whole: tile by tile, the scores are those of the whole image."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from service.contract import INPUT_NAME, OUTPUT_NAME, Halo
from service.geometry import enlarge, label_map, network_input
from service.inference import parts, tiling
from service.inference import tiles as tiles_module
from service.inference.cancellation import Cancellation, Cancelled
from service.inference.device import create_session
from service.inference.errors import OutOfDeviceMemory
from service.inference.layers import Layers, UnknownLayer
from service.inference.model_file import ModelFile
from service.inference.parts import Part, TiledPart
from service.inference.tiles import TiledNetwork, tiles
from service.inference.tiling import Tiling
from tests import photos
from tests.bands import joined, loaded, tiled_work
from tests.service.answers import assert_problem, mask_of, post, strongest_color
from tests.service.conftest import MakeClient
from tests.service.pictures import encoded, flag
from tests.service.tiny_models import write_model
from tests.service_process import MODELS

FILES = sorted(path for path in MODELS.rglob("*.onnx") if ".fp16." not in path.name)
MEGAPIXEL = 10**6


def large_photo(width: int, height: int) -> Image.Image:
    return photos.photo("coffee.png").resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs so small that photos of a megapixel are cut into tiles."""
    monkeypatch.setitem(tiling.RUN_BYTES, "cpu", 24 << 20)
    monkeypatch.setattr(tiling, "SURELY_WHOLE_PIXELS", 0)


@given(
    length=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    core=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    halo=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    stride=st.sampled_from([1, 8, 32]),
)
def test_cores_are_the_image_each_pixel_once_and_regions_have_their_halo(
    length: tuple[int, int], core: tuple[int, int], halo: tuple[int, int], stride: int
) -> None:
    width, height = length[0] * stride, length[1] * stride
    before, after = halo[0] * stride, halo[1] * stride
    part = TiledPart(Part((), (), (), Halo(before=before, after=after), 1.0, 1.0), core[0] * stride, core[1] * stride)
    seen = np.zeros((height // stride, width // stride), int)
    for row in tiles(part, width, height, stride):
        for tile in row:
            assert all(edge % stride == 0 for edge in (*tile.core, *tile.region))
            left, top, right, bottom = tile.core
            assert 0 < right - left <= part.width and 0 < bottom - top <= part.height
            expected = max(0, left - before), max(0, top - before), min(width, right + after), min(height, bottom + after)
            assert tile.region == expected
            seen[top // stride : bottom // stride, left // stride : right // stride] += 1
    assert (seen == 1).all()


@pytest.mark.usefixtures("small_runs")
@pytest.mark.parametrize("size", [(1190, 870), (870, 1190)], ids=["landscape", "portrait"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name.removesuffix(".onnx")))
def test_a_tiled_image_has_the_scores_and_labels_of_the_whole(path: Path, size: tuple[int, int]) -> None:
    model = loaded(path)
    card = model.card
    image = large_photo(*size)
    pixels = network_input(image, image.size, card.stride, card.pad_value)
    whole = model.run(pixels, Cancellation())
    scores = model.scores(image, Cancellation())
    tiled = joined(scores)
    assert tiled_work(model.tiling.network(1216, 896), 1216, 896) > 1.1
    assert tiled.shape == whole.shape
    assert scores.length == max(whole.shape)
    assert np.abs(tiled - whole).max() < 1e-3
    labels, expected = (label_map(s, image.size, image.size, card.output_stride) for s in (tiled, whole))
    differs = labels != expected
    assert differs.mean() <= 0.00001
    for top, strip in enlarge(whole, image.size, image.size, card.output_stride):
        first, second = np.sort(strip, 1)[:, [-1, -2]].transpose(1, 0, 2)
        assert ((first - second)[differs[top : top + len(strip)]] < 1e-3).all()


@pytest.mark.parametrize("path", [p for p in FILES if ".int8." not in p.name], ids=lambda path: str(path.stem))
def test_the_halo_on_the_card_is_that_of_the_graph_and_no_more_than_its_rounding_larger(path: Path) -> None:
    card = loaded(path).card
    layers = Layers.of(path.read_bytes(), "scores")
    before, after = parts._reach(layers.layers, frozenset({layers.layers[0].inputs[0]}), frozenset({layers.scores}))
    assert card.halo is not None
    # The card's is of any one score, with its neighbour; the graph's here of a block that begins and ends at the stride.
    rounding = 2 * card.stride
    assert 0 <= card.halo.before - before <= rounding and 0 <= card.halo.after - after <= rounding


@pytest.mark.parametrize("after", [False, True])
def test_a_changed_pixel_outside_the_halo_changes_nothing_and_one_inside_does(after: bool) -> None:
    model = loaded(MODELS / "animals-fcn8s-lite0.onnx")
    halo = model.card.halo
    assert halo is not None
    length, cell = 1536, 768  # the block of the scores that are watched begins here; one stride across is enough
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (1, length, 32, 3), dtype=np.uint8)

    def watched(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores = model.run(pixels, Cancellation())
        return scores[:, cell // 8 : (cell + 32) // 8]

    def changed(rows: slice) -> NDArray[np.uint8]:
        other = image.copy()
        other[:, rows] = 255 - other[:, rows]
        return other

    outside = slice(cell + 32 + halo.after, None) if after else slice(0, cell - halo.before)
    inside = slice(cell + 32, cell + 32 + halo.after) if after else slice(cell - halo.before, cell)
    assert np.array_equal(watched(changed(outside)), watched(image))
    assert not np.allclose(watched(changed(inside)), watched(image), atol=1e-3)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_a_50_megapixel_photo_costs_no_model_more_than_twice_its_own_work_and_the_largest_no_more_than_four_times(
    path: Path,
) -> None:
    tiling = loaded(path).tiling
    for width, height, most in ((8192, 6112, 2), (6112, 8192, 2), (8192, 8192, 4)):
        assert tiled_work(tiling.network(width, height), width, height) < most


def test_parts_that_could_not_be_opened_for_a_moment_are_opened_for_the_next_image() -> None:
    path = MODELS / "animals-fcn8s-lite0.onnx"
    content, failures = path.read_bytes(), 1

    def open_session(model: bytes) -> ort.InferenceSession:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise RuntimeError("pthread_create failed")
        return create_session(model, "cpu")

    one = Tiling(content, ModelFile.read(path).card, open_session, "cpu")
    assert len(one.network(4096, 4096).parts) == 1
    assert len(one.network(4096, 4096).parts) > 1
    failures = 2
    with pytest.raises(OutOfDeviceMemory, match="pthread_create"):
        Tiling(content, ModelFile.read(path).card, open_session, "cpu").network(4096, 4096)


@pytest.mark.parametrize("name", ["animals-fcn8s-lite0", "nuclei-unet", "research/camvid-refined-lite2"])
def test_what_is_kept_between_parts_is_bounded_whatever_the_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted while tiles run, on sessions that only make arrays of the right shape."""
    one = loaded(MODELS / f"{name}.onnx")
    most = 0.0
    original = tiles_module._Rows.make

    def counting(rows: tiles_module._Rows, number: int) -> list[NDArray[Any]] | None:
        nonlocal most
        made = original(rows, number)
        most = max(most, sum(band.nbytes for kept in rows._kept.values() for _, band in kept))
        return made

    monkeypatch.setattr(tiles_module._Rows, "make", counting)
    monkeypatch.setattr(tiles_module._Rows, "_run", blank)
    width, height = 4096, 8192
    network = one.tiling.network(width, height)
    scores = network.scores(lambda _: np.zeros(0, np.uint8), width, height, Cancellation())
    assert sum(band.shape[1] for band in scores.bands) == height // one.card.output_stride
    assert most <= parts.KEPT_BYTES
    assert tiled_work(network, width, height) < 4


def blank(rows: tiles_module._Rows, stage: tiles_module._Stage, tile: tiles_module.Tile) -> list[NDArray[Any]]:
    """What a tile's run gives, but for the values; what it takes is gathered, and must be there."""
    left, top, right, bottom = tile.region
    for tensor in stage.part.inputs:
        if tensor.name != INPUT_NAME:
            kept = rows._kept[tensor]
            reached = max(first + band.shape[1] * tensor.stride for first, band in kept)
            assert min(first for first, _ in kept) <= top and bottom <= reached
    return [
        np.zeros((1, t.channels, (bottom - top) // t.stride, (right - left) // t.stride), t.dtype) for t in stage.part.outputs
    ]


@pytest.mark.usefixtures("small_runs")
def test_work_that_is_called_off_stops_at_the_next_tile() -> None:
    model, cancellation = loaded(MODELS / "animals-fcn8s-lite0.onnx"), Cancellation()
    bands = iter(model.scores(large_photo(1190, 870), cancellation).bands)
    next(bands)
    cancellation.cancel()
    with pytest.raises(Cancelled):
        next(bands)


def test_more_classes_at_a_finer_stride_leave_room_for_fewer_pixels(tmp_path: Path) -> None:
    write_model(tmp_path, output_stride=1, classes=[{"id": n, "name": str(n), "color": "#000000"} for n in range(150)])
    most = ModelFile.read(tmp_path / "colors.onnx").most_pixels
    assert most is not None and most < 0.6 * MEGAPIXEL


def many_classes(are_layers_known: bool) -> bytes:
    """A network of one convolution to 150 classes at the image's own stride."""
    ways = ("Transpose", "Cast") if are_layers_known else ("Cast", "Transpose")  # the image's channels are known to come first
    attributes: dict[str, dict[str, Any]] = {"Cast": {"to": TensorProto.FLOAT}, "Transpose": {"perm": [0, 3, 1, 2]}}
    nodes = [
        helper.make_node(ways[0], ["image"], ["between"], **attributes[ways[0]]),
        helper.make_node(ways[1], ["between"], ["planes"], **attributes[ways[1]]),
        helper.make_node("Conv", ["planes", "weight"], ["scores"], pads=[1, 1, 1, 1]),
    ]
    weight = onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(150, 3, 3, 3)).astype(np.float32), "weight")
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 150, "h", "w"])
    graph = helper.make_graph(nodes, "many", [image], [scores], [weight])
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return content


@pytest.mark.usefixtures("small_runs")
@pytest.mark.parametrize("are_layers_known", [True, False], ids=["in parts", "as a whole"])
def test_the_scores_that_are_held_are_bounded_whatever_the_number_of_classes(
    are_layers_known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SCORES_BYTES", 3 << 20)
    classes = [{"id": number, "name": str(number), "color": "#000000"} for number in range(150)]
    card = write_model(tmp_path, output_stride=1, classes=classes, halo={"before": 16, "after": 16})
    content, photo = many_classes(are_layers_known), large_photo(320, 128)
    network = Tiling(content, card, lambda model: create_session(model, "cpu"), "cpu").network(320, 128)
    pixels = np.asarray(photo)[None]
    scores = network.scores(lambda box: pixels[:, box[1] : box[3], box[0] : box[2]], 320, 128, Cancellation())
    bands = list(scores.bands)
    assert len(bands) > 1 and max(band.nbytes for band in bands) <= 3 << 20
    [whole] = create_session(content, "cpu").run([OUTPUT_NAME], {INPUT_NAME: pixels})
    assert np.allclose(joined(replace(scores, bands=bands)), whole[0], atol=1e-3)


def forked(path: Path) -> bytes:
    """A shipped model whose image is looked at once more, beside the network, and whose scores are used once more."""
    graph = onnx.load(path)
    nodes = graph.graph.node
    last = nodes[-1]
    last.output[0] = "before"
    nodes.append(helper.make_node("Cast", ["image"], ["again"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("ReduceMean", ["again"], ["brightness"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["brightness", "nothing"], ["shift"]))
    nodes.append(helper.make_node("Add", ["before", "shift"], ["scores"]))
    nodes.append(helper.make_node("Relu", ["scores"], ["unused"]))
    graph.graph.initializer.append(helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]))
    content: bytes = graph.SerializeToString()
    return content


def skipping(path: Path) -> bytes:
    """A shipped model that adds its image, averaged to the scores' stride, to the scores: its first and last layer read it."""
    graph = onnx.load(path)
    nodes = graph.graph.node
    nodes[-1].output[0] = "before"
    nodes.append(helper.make_node("Transpose", ["image"], ["planes again"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Cast", ["planes again"], ["floats again"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("AveragePool", ["floats again"], ["small"], kernel_shape=[8, 8], strides=[8, 8]))
    nodes.append(helper.make_node("Conv", ["small", "to classes"], ["of image"]))
    nodes.append(helper.make_node("Add", ["before", "of image"], ["scores"]))
    nodes.append(helper.make_node("Relu", ["scores"], ["unused"]))
    graph.graph.initializer.append(helper.make_tensor("to classes", TensorProto.FLOAT, [7, 3, 1, 1], [0.01] * 21))
    content: bytes = graph.SerializeToString()
    return content


@pytest.mark.usefixtures("small_runs")
@pytest.mark.parametrize("change", [forked, skipping])
def test_graphs_that_use_the_image_twice_or_go_on_behind_the_scores_are_tiled_too(
    change: Callable[[Path], bytes], tmp_path: Path
) -> None:
    (tmp_path / "other.onnx").write_bytes(change(MODELS / "animals-fcn8s-lite0.onnx"))
    one = loaded(tmp_path / "other.onnx")
    image = large_photo(1190, 870)
    whole = one.run(network_input(image, image.size, 32, one.card.pad_value), Cancellation())
    tiled = joined(one.scores(image, Cancellation()))
    assert np.abs(tiled - whole).max() < 1e-3


def graph_with(operator: str) -> bytes:
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Transpose", [INPUT_NAME], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
        helper.make_node(operator, ["float"], ["scores"]),
    ]
    content: bytes = helper.make_model(helper.make_graph(nodes, "g", [image], [scores])).SerializeToString()
    return content


def test_a_layer_that_sees_the_whole_image_is_not_known() -> None:
    assert Layers.of(graph_with("Relu"), "scores").scores.channels == 3
    with pytest.raises(UnknownLayer, match="GlobalAveragePool scores"):
        Layers.of(graph_with("GlobalAveragePool"), "scores")


def test_a_network_of_unknown_layers_is_tiled_with_the_halo_of_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path, halo={"before": 16, "after": 16})
    one = loaded(tmp_path / "colors.onnx")
    image = large_photo(330, 250)
    whole = joined(one.scores(image, Cancellation()))
    monkeypatch.setitem(tiling.RUN_BYTES, "cpu", 1 << 20)
    monkeypatch.setattr(tiling, "SURELY_WHOLE_PIXELS", 0)

    def unknown(content: bytes, output_name: str) -> Layers:
        raise UnknownLayer(output_name)

    monkeypatch.setattr(Layers, "of", unknown)
    scores = loaded(tmp_path / "colors.onnx").scores(image, Cancellation())
    assert scores.schedule == "tiled"
    assert np.allclose(joined(scores), whole)


def test_a_model_without_a_halo_takes_no_image_that_it_cannot_run_whole(make_client: MakeClient, colors_folder: Path) -> None:
    client = make_client()
    large = encoded(flag(2100, 2100))
    most = ModelFile.read(colors_folder / "colors.onnx").most_pixels
    assert most is not None and 4.2 * MEGAPIXEL < most < 4.3 * MEGAPIXEL
    assert_problem(post(client, large, resolution="native"), 413, "choose a smaller resolution", limit=most)
    assert post(client, large, resolution=500).status_code == 200


@pytest.mark.parametrize("size", [(3296, 2096), (2096, 3296)])
def test_a_model_with_a_halo_takes_any(make_client: MakeClient, tmp_path: Path, size: tuple[int, int]) -> None:
    write_model(tmp_path, halo={"before": 16, "after": 16})
    image = flag(*size)
    mask = mask_of(make_client(models_dir=tmp_path), encoded(image), resolution="native")
    assert np.array_equal(mask, strongest_color(image))


def test_parts_are_chosen_once_for_images_of_about_a_size() -> None:
    model = loaded(MODELS / "animals-fcn8s-lite0.onnx")
    networks: list[TiledNetwork] = [model.tiling.network(side, side) for side in (2400, 2432, 4800)]
    assert networks[0] is networks[1]
    assert networks[0] is not networks[2]


def test_calling_off_stops_onnx_runtime_in_the_middle_of_a_run() -> None:
    one = loaded(MODELS / "animals-fcn8s-lite2.onnx")
    image = np.zeros((1, 1536, 2048, 3), np.uint8)
    start = time.perf_counter()
    one.run(image, Cancellation())
    whole = time.perf_counter() - start
    cancellation = Cancellation()
    timer = threading.Timer(whole / 8, cancellation.cancel)
    timer.start()
    with pytest.raises(Cancelled) as called_off:
        one.run(image, cancellation)
    assert "terminate" in str(called_off.value.__context__)  # ONNX Runtime's own error, not our check before the run
