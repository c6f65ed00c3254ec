"""The card's page says what the card says, and shows the worst."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photos import photo
from training.card_page import choose_examples, write_page
from training.curves import curves
from training.data.dataset import class_table
from training.data.datasets import DATASETS
from training.onnx_model import load_onnx
from training.pictures import Example, overlay, panel
from training.run_folder import RunFolder

CLASSES = class_table(("background", "#000000"), ("cat", "#400000"), ("cow", "#408000"))


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


def test_a_panel_of_twenty_photos_stays_small() -> None:
    face = photo("astronaut.png").resize((500, 375))
    labels = np.zeros((375, 500), np.uint8)
    labels[100:200] = 1
    examples = [
        Example(f"photo {number}", face, labels, labels.T[:375, :375].repeat(2, 1)[:, :500], 0.5) for number in range(20)
    ]
    assert len(panel(examples, CLASSES)) < 600_000


def test_an_overlay_leaves_background_blends_classes_and_whitens_void() -> None:
    image = Image.new("RGB", (4, 1), (100, 100, 100))
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    assert np.asarray(overlay(image, labels, CLASSES)).tolist() == [
        [[100, 100, 100], [78, 40, 40], [78, 117, 40], [193, 193, 193]]
    ]


def test_curves_are_a_picture_of_every_epoch(run: Path) -> None:
    rows = RunFolder(run).rows(99)
    pictures = [np.asarray(Image.open(io.BytesIO(curves(rows[:count])))) for count in (1, 2)]
    assert pictures[0].shape == pictures[1].shape == (400, 1000, 4)
    assert (pictures[0] != pictures[1]).any()
