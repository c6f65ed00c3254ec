"""What it costs to run an image in tiles: work is bounded, and memory is."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from service.contract import INPUT_NAME, OUTPUT_NAME, ModelCard
from service.inference.files.model_file import ModelFile
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import create_session
from service.inference.tiling import parts
from service.inference.tiling import tiles as tiles_module
from service.inference.tiling.plan import MAX_NETWORKS, Tiling
from service.inference.tiling.tiles import TiledNetwork
from tests.bands import joined, loaded, tiled_work
from tests.service.helpers.tiled import FILES, MEGAPIXEL, large_photo, many_classes
from tests.service.helpers.tiny_models import card, write_model
from tests.service_process import MODELS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_a_50_megapixel_photo_costs_no_model_more_than_twice_its_own_work_and_the_largest_no_more_than_four_times(
    path: Path,
) -> None:
    tiling = loaded(path).tiling
    for width, height, most in ((8192, 6112, 2), (6112, 8192, 2), (8192, 8192, 4)):
        assert tiled_work(tiling.network(width, height), width, height) < most


def test_parts_are_chosen_once_for_images_of_about_a_size() -> None:
    model = loaded(MODELS / "animals-fcn8s-lite0.onnx")
    networks: list[TiledNetwork] = [model.tiling.network(side, side) for side in (2400, 2432, 4800)]
    assert networks[0] is networks[1]
    assert networks[0] is not networks[2]


def test_of_networks_in_parts_only_the_last_few_keep_their_sessions() -> None:
    opened: weakref.WeakSet[ort.InferenceSession] = weakref.WeakSet()

    def open_session(content: bytes) -> ort.InferenceSession:
        session = create_session(content, "cpu")
        opened.add(session)
        return session

    path = MODELS / "nuclei-unet.onnx"
    tiling = Tiling(path.read_bytes(), ModelFile.read(path).card, open_session, "cpu")
    last: list[TiledNetwork] = []
    for side in range(1200, 4800, 400):
        last = [*last, tiling.network(side, side)][-MAX_NETWORKS:]
        gc.collect()
        assert set(opened) == {session for one in last for _, session in one.parts}
    del last
    tiling.give_back()
    gc.collect()
    assert not opened


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


def test_more_classes_at_a_finer_stride_leave_room_for_fewer_pixels(tmp_path: Path) -> None:
    write_model(tmp_path, output_stride=1, classes=[{"id": n, "name": str(n), "color": "#000000"} for n in range(150)])
    most = ModelFile.read(tmp_path / "colors.onnx").most_pixels
    assert most is not None and most < 0.6 * MEGAPIXEL


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


@pytest.mark.parametrize(("classes", "runs_whole"), [(3, True), (255, False)])
def test_a_small_image_is_tiled_all_the_same_if_its_scores_are_many(classes: int, runs_whole: bool) -> None:
    entries = [{"id": number, "name": f"class {number}", "color": "#000000"} for number in range(classes)]
    described = ModelCard.model_validate(card(classes=entries, output_stride=1, halo={"before": 16, "after": 16}))
    tiling = Tiling(b"", described, lambda model: create_session(model, "cpu"), "cpu")  # of layers that are not known
    assert tiling.runs_whole(720, 720) is runs_whole
