"""The card's page says what the cards say, and shows the worst."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from service.contract import VARIANTS
from tests.tiny_network import DATASET, PRESET
from tests.training.export.color_network import color_checkpoint
from training.export.card import Measurements, describe
from training.export.empty_scenes import find_scenes
from training.export.files import export
from training.export.page import choose_examples, write_page
from training.export.recipe import recipe_text
from training.onnx_model import load_onnx
from training.presets import PRESETS


@pytest.fixture(scope="module")
def page(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    reader = DATASET.evaluation(shapes, "val")
    scenes = find_scenes(["background"], [shapes / "JPEGImages"])
    folder = tmp_path_factory.mktemp("page")
    export(color_checkpoint(), folder, "colors", Measurements(reader, "val", (scenes,), DATASET.train(shapes)), VARIANTS)
    return write_page(folder / "colors.onnx", reader, "val")


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
    assert "python -m training evaluate colors.onnx --data DIR --split val" in text


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
    assert "480x352 image" in text


def test_the_page_shows_a_panel_that_lies_beside_it(page: Path) -> None:
    assert "](colors.jpg)" in page.read_text()
    with Image.open(page.with_name("colors.jpg")) as picture:
        assert picture.format == "JPEG"
        assert picture.width > 1000


def test_the_worst_image_comes_first_and_the_best_last(models: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.export.page.WORST", 1)
    monkeypatch.setattr("training.export.page.SPREAD", 2)
    reader = DATASET.evaluation(shapes, "train")
    everything = choose_examples(load_onnx(models / "tiny.onnx").segmenter, reader, 7)
    figures = [example.mean_iou for example in everything]
    assert len({example.stem for example in everything}) == 3
    assert figures == sorted(figures)
    assert figures[0] < figures[-1]


def test_the_recipe_names_every_step_from_the_first(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = replace(PRESET, name="shapes-second", start=PRESET.name, epochs=1, frozen_stride=8)
    monkeypatch.setitem(PRESETS, second.name, second)
    card = describe(replace(color_checkpoint(), preset=second), "colors")
    first, then, *_ = recipe_text(card).splitlines()
    assert first.startswith(f"1. `python -m training train {PRESET.name} ") and "from scratch weights, 2 epochs" in first
    assert f"train shapes-second --data DIR --out runs/shapes-second --init runs/{PRESET.name}/best.safetensors`" in then
    assert "from those weights, 1 epochs" in then and "layers up to stride 8 frozen" in then


def test_a_recipe_of_another_version_is_no_obstacle() -> None:
    card = describe(color_checkpoint(), "colors").model_copy(update={"preset": "forgotten"})
    assert "`forgotten`" in recipe_text(card)
