"""Graphs that take images of one size alone: images of any are fitted into it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from service.inference.models.repository import Repository
from service.inference.sessions.batching import SIZES
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, labels_of, mask_in, mask_of, post, strongest_color
from tests.service.helpers.foreign_models import MEAN, STD, broken, foreign_model, write_foreign
from tests.service.helpers.pictures import encoded, flag, oriented
from tests.service.helpers.reference import margins, reference_scores


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


def test_a_graph_of_one_size_takes_images_of_any(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(
        tmp_path, foreign_model(size=(128, 128)), stride=128, long_side=128, input={"mean": (0, 0, 0), "std": (1, 1, 1)}
    )
    client = make_client(models_dir=tmp_path, default_model="foreign")
    answer = post(client, encoded(flag(384, 256))).json()
    assert (mask_in(answer) == strongest_color(flag(384, 256))).mean() > 0.98


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
    assert_problem(
        post(client, oriented(does_not, 6, "PNG"), resolution="native"), 413, "up to 320x192 pixels", limit=320 * 192
    )


def test_a_graph_of_one_size_answers_413_to_a_resolution_that_does_not_fit_into_it(
    make_client: MakeClient, tmp_path: Path
) -> None:
    write_foreign(tmp_path, foreign_model(size=(128, 96)))
    client = make_client(models_dir=tmp_path, default_model="foreign")
    for resolution in ("native", 200):
        assert_problem(post(client, encoded(flag(384, 256)), resolution=resolution), 413, "up to 128x96 pixels", limit=128 * 96)
    told = "100x128 pixels: foreign takes images of up to 128x96 pixels"
    assert_problem(post(client, encoded(flag(100, 128)), resolution="native"), 413, told, limit=128 * 96)
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


@pytest.mark.parametrize(
    ("graph", "changes", "said"),
    [
        ({"size": (520, 512)}, {"stride": 32}, "takes 520x512 alone, no multiple of stride 32"),
        ({"size": (512, 520)}, {"stride": 32, "long_side": 520}, "takes 512x520 alone, no multiple of stride 32"),
        ({"size": (520, 100)}, {"output_stride": 8}, "takes 520x100 alone, no multiple of output_stride 8"),
        ({"size": (520, 104)}, {"output_stride": 8}, "its scores of an image"),
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
@pytest.mark.parametrize(("batch", "numbers"), [("n", SIZES), (1, (1,))])
def test_on_a_gpu_a_graph_of_one_size_is_warmed_in_that_size_alone_and_in_the_batches_that_it_takes(
    batch: str | int, numbers: tuple[int, ...], ran: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    write_foreign(tmp_path, foreign_model(size=(128, 96), batch=batch))
    assert Repository(tmp_path, "cpu").models
    assert set(ran) == {(number, 96, 128) for number in numbers}
