"""The card's page says what the card says, and shows the worst."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from training.card_page import choose_examples, write_page
from training.data.datasets import DATASETS
from training.onnx_model import load_onnx


@pytest.fixture(scope="module")
def page(models: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = shutil.copy(models / "tiny.onnx", tmp_path_factory.mktemp("page"))
    return write_page(Path(model), shapes, "val")


def test_the_page_states_the_cards_figures(page: Path) -> None:
    card, text = load_onnx(page.with_suffix(".onnx")).card, page.read_text()
    [metrics], [scene] = card.metrics, card.empty_scenes
    for name, iou in metrics.iou.items():
        assert f"| {name} | {'absent' if iou is None else f'{iou:.1%}'} |" in text
    assert f"**{metrics.mean_iou:.1%}**" in text
    assert metrics.definition in text
    assert f"{scene.fraction:.2%} | {scene.worst_image_fraction:.2%}" in text
    assert card.licence in text
    assert all(limit in text for limit in DATASETS["voc-animals"].limits)
    assert "python -m training evaluate tiny.onnx --data DIR --split val" in text


def test_the_page_shows_a_panel_that_lies_beside_it(page: Path) -> None:
    assert "](tiny.jpg)" in page.read_text()
    with Image.open(page.with_name("tiny.jpg")) as picture:
        assert picture.format == "JPEG"
        assert picture.width > 1000


def test_the_worst_image_comes_first_and_the_best_last(models: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.card_page.WORST", 1)
    monkeypatch.setattr("training.card_page.SPREAD", 2)
    reader = DATASETS["voc-animals"].evaluation(shapes, "train")
    everything = choose_examples(load_onnx(models / "tiny.onnx").segmenter, reader, 7)
    figures = [example.mean_iou for example in everything]
    assert len({example.stem for example in everything}) == 3
    assert figures == sorted(figures)
    assert figures[0] < figures[-1]
