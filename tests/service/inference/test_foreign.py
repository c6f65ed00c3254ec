"""Models that were not exported here, served through a card beside them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.inference.models.repository import Repository
from service.inference.sessions.cancellation import Cancellation
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, mask_in, mask_of, post, strongest_color
from tests.service.helpers.foreign_models import MEAN, STD, foreign_model, model_of, write_foreign
from tests.service.helpers.pictures import encoded, flag


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

    model = Repository(tmp_path, "cpu").variant("foreign").model()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)
    expected = 2 * ((pixels[0] / 255 - MEAN) / STD).transpose(2, 0, 1)
    assert np.allclose(model.run(pixels, Cancellation())[0], expected, atol=1e-5)


def test_a_size_that_is_written_as_minus_one_is_free(make_client: MakeClient, tmp_path: Path) -> None:
    write_foreign(tmp_path, foreign_model(size=(-1, -1), batch=-1))
    image = flag(160, 96)
    assert (mask_of(make_client(models_dir=tmp_path, default_model="foreign"), encoded(image)) == strongest_color(image)).all()


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


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("operator", "mean"), [("Sqrt", 0.3), ("Reciprocal", 0), ("Log", 0)], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("form", ["json", "mask", "overlay"])
def test_scores_that_are_not_finite_are_no_result(
    form: str, operator: str, mean: float, make_client: MakeClient, tmp_path: Path
) -> None:
    # finite on the grey of a test image
    write_foreign(tmp_path, model_of(operator), input={"mean": [mean] * 3, "std": (1, 1, 1)})
    client = make_client(models_dir=tmp_path, default_model="foreign")
    assert post(client, encoded(Image.new("RGB", (70, 50), "grey")), format=form).status_code == 200
    black_corner = Image.new("RGB", (70, 50), "grey")
    black_corner.paste("black", (0, 0, 3, 2))
    assert_problem(post(client, encoded(black_corner), format=form), 503, "gives scores that are not finite")
