"""The card's page says what the cards say, and shows the worst."""

from pathlib import Path

import pytest
from PIL import Image

from service.contract import VARIANTS
from tests.tiny_network import DATASET
from tests.training.export.color_network import color_checkpoint
from training.errors import InputError
from training.export.card import Measurements
from training.export.empty_scenes import find_scenes
from training.export.files import export
from training.export.page import choose_examples, page_text, write_page
from training.onnx_model import load_onnx
from training.survey import examine


@pytest.fixture(scope="module")
def page(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    reader = DATASET.evaluation(shapes, "val")
    scenes = find_scenes(["background"], [shapes / "JPEGImages"])
    folder = tmp_path_factory.mktemp("page")
    export(color_checkpoint(), folder, "colors", Measurements(reader, "val", (scenes,), DATASET.train(shapes)), VARIANTS)
    return write_page(folder / "colors.onnx", reader, "val", "--data DIR --classes FILE")


def test_the_page_states_the_cards_figures(page: Path) -> None:
    card, text = load_onnx(page.with_suffix(".onnx")).card, page.read_text()
    [metrics], [scene] = card.metrics, card.empty_scenes
    for name, iou in metrics.iou.items():
        assert f"| {name} | {'absent' if iou is None else f'{iou:.1%}'} |" in text
    assert f"**{metrics.mean_iou:.1%}**" in text
    assert metrics.definition in text
    assert f"{scene.fraction:.2%} | {scene.worst_image_fraction:.2%}" in text
    assert card.licence in text
    assert all(limit in text for limit in DATASET.limits)
    assert "python -m training evaluate colors.onnx --data DIR --classes FILE --split val" in text


def test_every_file_has_a_row_with_its_size_and_its_price(page: Path) -> None:
    text = page.read_text()
    for name in ("colors.onnx", *(f"colors.{precision}.onnx" for precision in VARIANTS)):
        path = page.with_name(name)
        card = load_onnx(path).card
        assert card.latency is not None
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {path.stat().st_size / 1e6:.1f} MB | {card.metrics[0].mean_iou:.1%} on val |" in row
        assert f"{card.latency.milliseconds:.1f} ms" in row
        if card.compared is not None:
            assert f"{abs(card.compared.lost_points):.2f} points" in row
            assert f"{card.compared.latency_ratio:.2f} times as fast" in row
        assert (card.compared is None) == (name == "colors.onnx")
    assert "the network alone, from pixels at its input size to scores" in text
    assert "480x352 image" in text


def test_the_page_says_at_what_size_images_are_seen(page: Path) -> None:
    path = page.with_suffix(".onnx")
    card = load_onnx(path).card
    for side, told in (
        (160, "larger images are shrunk to a long side of 160 px"),
        (None, "every image is taken at its own size"),
    ):
        text = page_text(path, {path: card.model_copy(update={"long_side": side})}, "val", "", 4)
        assert f"| input | RGB; {told}, padded to multiples of {card.stride} |" in text


def test_the_page_shows_a_panel_that_lies_beside_it(page: Path) -> None:
    assert "](colors.jpg)" in page.read_text()
    with Image.open(page.with_name("colors.jpg")) as picture:
        assert picture.format == "JPEG"
        assert picture.width > 1000


def test_the_worst_image_comes_first_and_the_best_last(models: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.export.page.WORST", 1)
    monkeypatch.setattr("training.export.page.SPREAD", 2)
    reader = DATASET.evaluation(shapes, "train")
    segmenter = load_onnx(models / "tiny.onnx").segmenter
    chosen = choose_examples(segmenter, reader, 7)
    figures = [examine(segmenter, reader, stem, 7).mean_iou for stem in chosen]
    assert len(set(chosen)) == 3
    assert figures == sorted(figures)
    assert figures[0] < figures[-1]


def test_a_variant_has_no_page_of_its_own(page: Path, shapes: Path) -> None:
    with pytest.raises(InputError, match=r"colors\.int8\.onnx is a variant itself"):
        write_page(page.with_name("colors.int8.onnx"), DATASET.evaluation(shapes, "val"), "val", "")


def test_the_caption_counts_the_pictures_that_there_are(page: Path) -> None:
    assert "The 4 worst images of the val split by their own mean IoU, the worst one first." in page.read_text()


def test_the_page_tells_the_recipe_of_the_card(page: Path) -> None:
    recipe = load_onnx(page.with_suffix(".onnx")).card.recipe
    assert recipe and recipe in page.read_text()


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a|b", r"a\|b"), ("<img src=x>", r"\<img src=x\>"), ("R&amp;D", r"R\&amp;D"), ("_oak_tree*", r"\_oak_tree\*")],
)
def test_a_name_is_shown_as_it_is(name: str, shown: str, page: Path) -> None:
    path = page.with_suffix(".onnx")
    card = load_onnx(path).card
    first, *rest = card.classes
    [metrics] = card.metrics
    renamed = {
        "classes": [first.model_copy(update={"name": name}), *rest],
        "metrics": [metrics.model_copy(update={"iou": {name: 0.5}})],
        "dataset": f"folder {name}",
    }
    text = page_text(path, {path: card.model_copy(update=renamed)}, "val", "", 4)
    assert f"classes: {shown}, " in text
    assert f"| {shown} | 50.0% |" in text
    assert f"| data | folder {shown} |" in text


def test_the_command_of_the_page_names_the_file_as_it_was_given(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(page.parents[1])
    path = Path(page.parent.name, "colors.onnx")
    text = page_text(path, {path: load_onnx(path).card}, "val", "--data DIR", 4)
    assert f"`.venv/bin/python -m training evaluate {path} --data DIR --split val`" in text
