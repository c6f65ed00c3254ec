"""Sample panels show every example and name every class."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.photos import photo
from training.data.dataset import class_table
from training.pictures.panel import contact_sheet, encoded, overlay, panel
from training.survey import Example

CLASSES = class_table(("background", "#000000"), ("cat", "#400000"), ("cow", "#408000"))


def test_a_panel_of_twenty_photos_stays_small() -> None:
    face = photo("astronaut.png").resize((500, 375))
    labels = np.zeros((375, 500), np.uint8)
    labels[100:200] = 1
    examples = [
        Example(f"photo {number}", face, labels, labels.T[:375, :375].repeat(2, 1)[:, :500], 0.5) for number in range(20)
    ]
    assert len(encoded(panel(examples, CLASSES), "JPEG")) < 600_000


def test_colours_are_blended_at_the_size_of_a_panel() -> None:
    labels = np.zeros((1500, 2000), np.uint8)
    example = Example("large", Image.new("RGB", (2000, 1500)), labels, labels, 0.5)
    tracemalloc.start()
    panel([example], CLASSES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * labels.size  # bytes; float32 colours take twelve a pixel


def test_an_overlay_leaves_background_blends_classes_and_whitens_void() -> None:
    image = Image.new("RGB", (4, 1), (100, 100, 100))
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    assert np.asarray(overlay(image, labels, CLASSES)).tolist() == [
        [[100, 100, 100], [78, 40, 40], [78, 117, 40], [193, 193, 193]]
    ]


@pytest.mark.parametrize(("columns", "length"), [(1, 5), (2, 12), (2, 60)])
def test_the_legend_shows_the_colour_of_every_class_however_many_and_long(columns: int, length: int) -> None:
    classes = class_table(*((f"class {number} ".ljust(length, "x"), f"#{number:02x}40ff") for number in range(21)))
    sheet = contact_sheet([("one", [Image.new("RGB", (40, 30), "white")] * 3)], classes, columns)
    shown = {color for _, color in sheet.getcolors(1 << 16) or []}
    assert {entry.rgb for entry in classes} <= shown


def test_a_long_name_does_not_run_into_the_next_example() -> None:
    blank = np.full((30, 40), 255, np.uint8)
    white = Image.new("RGB", (40, 30), "white")
    rows = [Example(name, white, blank, blank, 0.5) for name in ("W" * 200, "two")]
    short = [Example(name, white, blank, blank, 0.5) for name in ("one", "two")]
    long, usual = (np.asarray(panel(examples, CLASSES)) for examples in (rows, short))
    half = usual.shape[1] // 2
    assert (long[:, half - 6 :] == usual[:, half - 6 :]).all()
    assert (long[:, :half] != usual[:, :half]).any()
