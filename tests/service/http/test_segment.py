"""POST /segment: the answer's three forms, and that every pixel of them is right."""

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.contract import ModelCard
from service.geometry import upright_rgb
from tests.service.helpers.answers import assert_problem, labels_of, mask_in, mask_of, post, strongest_color
from tests.service.helpers.pictures import BLUE, GREEN, RED, encoded, flag, opened, oriented
from tests.service.helpers.reference import margins, reference_result
from tests.service.helpers.tiny_models import CLASSES, LONG_SIDE
from tests.service_process import MODELS, ROOT

CAT = (ROOT / "service" / "static" / "samples" / "cat.jpg").read_bytes()
FLAG = encoded(flag())


def test_the_json_answer_has_the_entries_of_the_design_and_no_others(colors: TestClient) -> None:
    response = post(colors, FLAG)
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["model", "image", "classes", "mask", "timings_ms"]
    assert list(answer["model"]) == ["name", "sha256", "device", "precision"]
    assert {key: answer["model"][key] for key in ("name", "device", "precision")} == {
        "name": "colors",
        "device": "cpu",
        "precision": "fp32",
    }
    assert answer["image"] == {"width": 96, "height": 64, "orientation": 1}
    assert set(answer["timings_ms"]) == {"decode", "queue", "infer", "encode"}
    assert all(isinstance(value, float) and value >= 0 for value in answer["timings_ms"].values())


def test_every_class_is_listed_in_the_order_of_ids_with_its_share_of_the_image(colors: TestClient) -> None:
    answer = post(colors, FLAG).json()
    assert [set(entry) for entry in answer["classes"]] == 3 * [{"id", "name", "color", "pixels", "fraction", "confidence"}]
    assert [(entry["id"], entry["name"], entry["color"]) for entry in answer["classes"]] == [
        (entry.id, entry.name, entry.color) for entry in CLASSES
    ]
    assert [entry["pixels"] for entry in answer["classes"]] == [3072, 1536, 1536]
    assert [entry["fraction"] for entry in answer["classes"]] == [0.5, 0.25, 0.25]


def test_confidence_is_the_mean_softmax_of_the_winner_and_null_where_there_is_none(colors: TestClient) -> None:
    red, green, blue = post(colors, encoded(Image.new("RGB", (32, 32), (64, 0, 32)))).json()["classes"]
    expected = np.exp(2) / (np.exp(2) + np.exp(1) + np.exp(0))  # the model divides by 32
    assert red["confidence"] == pytest.approx(expected, abs=1e-6)
    assert red["pixels"] == 32 * 32
    assert (green["pixels"], green["fraction"], green["confidence"]) == (0, 0, None)
    assert (blue["pixels"], blue["fraction"], blue["confidence"]) == (0, 0, None)


SIZES = [(1, 1), (1, 2), (2, 1), (3, 5), (17, 33), (127, 129), (1, 5000), (5000, 1), (3, 2000), (2000, 3), (333, 1000)]


@pytest.mark.parametrize("size", SIZES)
def test_pixels_sum_to_the_size_and_the_mask_has_it(size: tuple[int, int], colors: TestClient) -> None:
    answer = post(colors, encoded(flag(*size))).json()
    assert (answer["image"]["width"], answer["image"]["height"]) == size
    counted = np.bincount(mask_in(answer).ravel(), minlength=3)
    assert mask_in(answer).shape == size[::-1]
    assert [entry["pixels"] for entry in answer["classes"]] == counted.tolist()
    assert sum(entry["pixels"] for entry in answer["classes"]) == size[0] * size[1]
    assert sum(entry["fraction"] for entry in answer["classes"]) == pytest.approx(1)


@pytest.mark.parametrize("size", [(1, 1), (13, 7), (96, 64), (127, 100)])
def test_an_image_is_labelled_where_its_colors_are(size: tuple[int, int], colors: TestClient) -> None:
    wrong = mask_of(colors, encoded(flag(*size))) != strongest_color(flag(*size))
    assert wrong.sum() <= 4 * sum(size)  # along the borders of the colours alone


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_has_the_mask_of_the_upright_one(form: str, orientation: int, colors: TestClient) -> None:
    content = oriented(flag(60, 40), orientation, form)
    upright, _ = upright_rgb(opened(content))
    answer = post(colors, content).json()
    assert answer["image"] == {"width": 60, "height": 40, "orientation": orientation}
    assert (mask_in(answer) == mask_of(colors, encoded(upright))).all()
    assert [entry["pixels"] for entry in answer["classes"]] == pytest.approx([1200, 600, 600], abs=100)


def test_the_mask_is_an_indexed_png_with_its_legend(colors: TestClient) -> None:
    response = post(colors, FLAG, format="mask")
    assert response.headers["content-type"] == "image/png"
    image = opened(response.content)
    assert (image.format, image.mode, image.size) == ("PNG", "P", (96, 64))
    palette = image.getpalette()
    assert palette is not None
    assert palette[:9] == [channel for entry in CLASSES for channel in entry.rgb]
    legend = json.loads(image.info["segmentation"])
    answer = post(colors, FLAG).json()
    assert legend["classes"] == answer["classes"]
    assert legend["model"] == answer["model"]
    assert b"iTXtsegmentation\0" in response.content


def test_the_mask_says_the_pixels_of_the_classes_present_in_a_header(colors: TestClient) -> None:
    assert json.loads(post(colors, FLAG, format="mask").headers["segment-classes"]) == {"0": 3072, "1": 1536, "2": 1536}
    only_red = post(colors, encoded(Image.new("RGB", (3, 3), "red")), format="mask").headers["segment-classes"]
    assert only_red == '{"0":9}'
    assert "segment-classes" not in post(colors, FLAG).headers


def test_the_mask_in_the_json_answer_is_the_mask(colors: TestClient) -> None:
    assert (mask_in(post(colors, FLAG).json()) == mask_of(colors, FLAG)).all()


def overlay(client: TestClient, opacity: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The overlay of the flag."""
    response = post(client, encoded(flag(120, 80)), format="overlay", opacity=opacity)
    assert response.headers["content-type"] == "image/jpeg"
    image = opened(response.content)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (120, 80))
    return np.asarray(image).astype(np.int64)


def test_an_overlay_goes_from_the_image_to_the_colors_with_its_opacity(colors: TestClient) -> None:
    image = np.asarray(flag(120, 80)).astype(int)
    painted = np.array([entry.rgb for entry in CLASSES])[mask_of(colors, encoded(flag(120, 80)))]
    for opacity in (0.0, 0.5, 1.0):
        expected = image * (1 - opacity) + painted * opacity
        assert abs(overlay(colors, opacity) - expected).mean() < 4


def test_an_overlay_of_a_turned_image_is_upright(colors: TestClient) -> None:
    content = post(colors, oriented(flag(), 6, "PNG"), format="overlay", opacity=0).content
    corners = np.asarray(opened(content))[[8, 8, 56], [16, 80, 80]]
    assert np.allclose(corners, [RED, GREEN, BLUE], atol=8)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("text/html", "application/json"),
        ("image/png;q=0.1, application/json;q=0.2", "application/json"),
        ("image/jpeg", "application/json"),
    ],
)
def test_accept_chooses_the_form(accept: str, kind: str, colors: TestClient) -> None:
    response = colors.post("/segment", content=FLAG, headers={"Accept": accept})
    assert response.headers["content-type"] == kind


def test_accept_may_be_spread_over_several_lines(colors: TestClient) -> None:
    headers = [("Accept", "text/html"), ("Accept", "image/png")]
    assert colors.post("/segment", content=FLAG, headers=headers).headers["content-type"] == "image/png"


def test_the_format_asked_for_overrides_accept(colors: TestClient) -> None:
    response = colors.post("/segment?format=json", content=FLAG, headers={"Accept": "image/png"})
    assert response.headers["content-type"] == "application/json"


def test_the_same_image_has_the_same_answer_each_time(colors: TestClient) -> None:
    assert post(colors, FLAG, format="mask").content == post(colors, FLAG, format="mask").content


def test_resolution_is_the_long_side_at_which_the_model_sees_the_image(colors: TestClient) -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, 0::2, 0] = stripes[:, 1::2, 2] = 255  # red and blue by turns, one pixel wide
    content = encoded(Image.fromarray(stripes))
    by_default = mask_of(colors, content)
    assert (mask_of(colors, content, resolution="model") == by_default).all()
    assert (mask_of(colors, content, resolution=LONG_SIDE) == by_default).all()
    assert (mask_of(colors, content, resolution=512) == mask_of(colors, content, resolution="native")).all()
    assert (mask_of(colors, content, resolution=999999) == mask_of(colors, content, resolution="native")).all()
    assert mask_of(colors, content, resolution=1).shape == (512, 512)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("resolution=0", "resolution"),
        ("resolution=-5", "resolution"),
        ("resolution=1.5", "resolution"),
        ("resolution=1e3", "resolution"),
        ("resolution=٣", "resolution"),
        ("resolution=५००", "resolution"),
        ("resolution=500%0A", "resolution"),
        ("resolution=1000000", "resolution"),
        ("resolution=Native", "resolution"),
        ("resolution=", "resolution"),
        ("format=png", "format"),
        ("format=", "format"),
        ("format=json&format=gif", "format"),
        ("precision=fp64", "precision"),
        ("opacity=1.01", "opacity"),
        ("opacity=-0.01", "opacity"),
        ("opacity=nan", "opacity"),
        ("opacity=inf", "opacity"),
        ("opacity=1e400", "opacity"),
        ("opacity=half", "opacity"),
        ("opacity=", "opacity"),
    ],
)
def test_a_bad_parameter_is_422_and_named(query: str, parameter: str, colors: TestClient) -> None:
    assert_problem(colors.post(f"/segment?{query}", content=FLAG), 422, f"query.{parameter}")


def test_all_bad_parameters_are_named_at_once(colors: TestClient) -> None:
    assert_problem(colors.post("/segment?opacity=9&resolution=x", content=FLAG), 422, "query.opacity", "query.resolution")


def test_unknown_parameters_and_a_huge_query_are_ignored(colors: TestClient) -> None:
    assert colors.post("/segment?" + "&".join(f"a{n}=b" for n in range(3000)), content=FLAG).status_code == 200


def test_an_unknown_model_or_variant_is_404_and_the_known_ones_are_told(colors: TestClient) -> None:
    assert_problem(post(colors, FLAG, model="nothing"), 404, "nothing", "colors")
    assert_problem(post(colors, FLAG, model="../colors"), 404)
    assert_problem(post(colors, FLAG, model="\0\ud800".encode("utf-8", "surrogatepass").decode("latin-1")), 404)
    assert_problem(post(colors, FLAG, precision="int8"), 404, "int8", "fp32")


def test_a_model_and_its_variant_can_be_named(colors: TestClient) -> None:
    assert post(colors, FLAG, model="colors", precision="fp32").status_code == 200


@pytest.mark.parametrize("resolution", ["model", "native", "200", "77"])
def test_the_labels_of_a_photo_are_those_of_the_design_worked_out_by_hand(client: TestClient, resolution: str) -> None:
    model = (MODELS / "animals-fcn8s-lite0.onnx").read_bytes()
    card = ModelCard.model_validate(
        {k: v for k, v in client.get("/models/animals-fcn8s-lite0").json().items() if k in ModelCard.model_fields}
    )
    photo = opened(CAT).convert("RGB").resize((391, 260))  # no multiple of anything
    long_side = {"model": card.long_side, "native": None}.get(resolution, int(resolution) if resolution.isdecimal() else None)
    scores = reference_result(model, photo, long_side)
    labels = mask_of(client, encoded(photo), resolution=resolution, precision="fp32")
    wrong = labels != scores.argmax(0)
    assert len(np.unique(labels)) > 1
    assert not wrong[margins(scores) > 1e-3].any()
    assert wrong.mean() < 1e-3


def test_confidences_of_a_photo_are_means_of_its_softmax(client: TestClient) -> None:
    photo = opened(CAT).convert("RGB").resize((391, 260))
    answer = post(client, encoded(photo), precision="fp32").json()
    long_side = client.get(f"/models/{answer['model']['name']}").json()["long_side"]
    scores = reference_result((MODELS / "animals-fcn8s-lite0.onnx").read_bytes(), photo, long_side)
    best = 1 / np.exp(scores - scores.max(0)).sum(0)
    labels = mask_in(answer)
    for entry in answer["classes"]:
        if entry["pixels"]:
            assert entry["confidence"] == pytest.approx(best[labels == entry["id"]].mean(), abs=1e-4)
        else:
            assert entry["confidence"] is None


def test_the_sample_photo_of_a_cat_shows_a_cat(client: TestClient) -> None:
    areas = {entry["name"]: entry["fraction"] for entry in post(client, CAT).json()["classes"]}
    assert max((name for name in areas if name != "background"), key=areas.__getitem__) == "cat"
    assert labels_of(post(client, CAT, format="mask").content).shape == opened(CAT).size[::-1]
