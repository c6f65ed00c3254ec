"""Images too large to run whole: tile by tile, the scores are those of the whole image."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.contract import INPUT_NAME, Halo, ModelCard
from service.geometry import enlarge, label_map, network_input
from service.inference.files.model_file import ModelFile
from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.inference.sessions.device import create_session
from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed
from service.inference.tiling import plan
from service.inference.tiling.layers import Layers, UnknownLayer
from service.inference.tiling.parts import Part, TiledPart
from service.inference.tiling.plan import Tiling
from service.inference.tiling.tiles import tiles
from tests.bands import joined, loaded, tiled_work
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, mask_of, post, strongest_color
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiled import FILES, MEGAPIXEL, enlarging, forked, large_photo, skipping
from tests.service.helpers.tiny_models import card, write_model
from tests.service_process import MODELS


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
    whole, _ = model.run(pixels, Cancellation())
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
        *_, second, first = np.sort(strip.transpose(0, 2, 1)[differs[top : top + len(strip)]]).T
        assert (first - second < 1e-3).all()


@pytest.mark.usefixtures("small_runs")
def test_what_two_later_parts_need_is_kept_until_both_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plan.RUN_BYTES, "cpu", 8 << 20)
    one, image = loaded(MODELS / "animals-fcn8s-lite2.onnx"), large_photo(640, 1280)
    parts = [tiled.part for tiled, _ in one.tiling.network(640, 1280).parts]
    assert max(sum(made in part.inputs for part in parts) for before in parts for made in before.outputs) == 2
    whole, _ = one.run(network_input(image, image.size, 32, one.card.pad_value), Cancellation())
    assert np.abs(joined(one.scores(image, Cancellation())) - whole).max() < 1e-3


@pytest.mark.usefixtures("small_runs")
@pytest.mark.parametrize("change", [forked, skipping])
def test_graphs_that_use_the_image_twice_or_go_on_behind_the_scores_are_tiled_too(
    change: Callable[[Path], bytes], tmp_path: Path
) -> None:
    (tmp_path / "other.onnx").write_bytes(change(MODELS / "animals-fcn8s-lite0.onnx"))
    one = loaded(tmp_path / "other.onnx")
    image = large_photo(1190, 870)
    whole, _ = one.run(network_input(image, image.size, 32, one.card.pad_value), Cancellation())
    tiled = joined(one.scores(image, Cancellation()))
    assert np.abs(tiled - whole).max() < 1e-3


@pytest.mark.parametrize(
    ("kernel", "pads", "output_padding"),
    [(2, [0] * 4, 0), (3, [1] * 4, 1), (1, [0] * 4, 1), (2, [1, 1, 0, 0], 1)],
    ids=["2", "3 as torch pads it", "1", "2 at an offset"],
)
def test_transposed_convolutions_are_tiled_whatever_part_of_their_output_they_crop(
    kernel: int, pads: list[int], output_padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last two need less of their input than their output covers, and the layer behind them reads all of that."""
    monkeypatch.setitem(plan.RUN_BYTES, "cpu", 8 << 20)
    monkeypatch.setattr(plan, "SURELY_WHOLE_PIXELS", 0)
    content, size = enlarging(kernel, pads, output_padding), 480
    facts = ModelCard.model_validate(card(stride=2, output_stride=1, halo={"before": 8, "after": 8}, long_side=None))
    tiling = Tiling(content, facts, partial(create_session, device="cpu"), "cpu")
    assert not tiling.runs_whole(size, size)
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    [[whole]] = create_session(content, "cpu").run(None, {INPUT_NAME: pixels})

    def region(box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        left, top, right, bottom = box
        return np.ascontiguousarray(pixels[:, top:bottom, left:right])

    tiled = joined(tiling.network(size, size).scores(region, size, size, Cancellation()))
    assert np.abs(tiled - whole).max() < 1e-2  # of scores up to a hundred


def test_a_network_of_unknown_layers_is_tiled_with_the_halo_of_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path, halo={"before": 16, "after": 16})
    one = loaded(tmp_path / "colors.onnx")
    image = large_photo(330, 250)
    whole = joined(one.scores(image, Cancellation()))
    monkeypatch.setitem(plan.RUN_BYTES, "cpu", 1 << 20)
    monkeypatch.setattr(plan, "SURELY_WHOLE_PIXELS", 0)

    def unknown(content: bytes, output_name: str) -> Layers:
        raise UnknownLayer(output_name)

    monkeypatch.setattr(Layers, "of", unknown)
    scores = loaded(tmp_path / "colors.onnx").scores(image, Cancellation())
    assert scores.schedule == "tiled"
    assert np.allclose(joined(scores), whole)


@pytest.mark.parametrize("size", [(3296, 2096), (2096, 3296)])
def test_a_model_with_a_halo_takes_any(make_client: MakeClient, tmp_path: Path, size: tuple[int, int]) -> None:
    write_model(tmp_path, halo={"before": 16, "after": 16})
    image = flag(*size)
    mask = mask_of(make_client(models_dir=tmp_path), encoded(image), resolution="native")
    assert np.array_equal(mask, strongest_color(image))


def test_a_model_without_a_halo_takes_no_image_that_it_cannot_run_whole(make_client: MakeClient, colors_folder: Path) -> None:
    client = make_client()
    large = encoded(flag(2100, 2100))
    most = ModelFile.read(colors_folder / "colors.onnx").most_pixels
    assert most is not None and 4.2 * MEGAPIXEL < most < 4.3 * MEGAPIXEL
    assert_problem(post(client, large, resolution="native"), 413, "choose a smaller resolution", limit=most)
    assert post(client, large, resolution=500).status_code == 200


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


def test_tiles_whose_scores_are_of_another_shape_than_the_card_says_are_no_result(tmp_path: Path) -> None:
    card = write_model(tmp_path, output_stride=8, halo={"before": 16, "after": 16})  # it is 4
    content = (tmp_path / "colors.onnx").read_bytes()
    network = Tiling(content, card, lambda model: create_session(model, "cpu"), "cpu").network(64, 128)
    scores = network.scores(lambda _: np.zeros((1, 128, 64, 3), np.uint8), 64, 128, Cancellation())
    with pytest.raises(RunFailed, match="scores of a tile is"):
        list(scores.bands)


@pytest.mark.usefixtures("small_runs")
def test_work_that_is_cancelled_stops_at_the_next_tile() -> None:
    model, cancellation = loaded(MODELS / "animals-fcn8s-lite0.onnx"), Cancellation()
    bands = iter(model.scores(large_photo(1190, 870), cancellation).bands)
    next(bands)
    cancellation.cancel()
    with pytest.raises(Cancelled):
        next(bands)
