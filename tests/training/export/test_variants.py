"""int8 and fp16 files: nearly as good as fp32, with their price on the card, or not written."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.contract import VARIANTS, ModelCard, Precision
from service.geometry import enlarge, network_input, working_size
from service.settings import Settings
from tests.service.helpers.reference import margins
from tests.tiny_network import DATASET
from tests.training.export.color_network import color_checkpoint
from tests.training.export.graphs import noise
from training.errors import InputError
from training.evaluate import evaluate
from training.export.accuracy import AccuracyError
from training.export.card import Measurements
from training.export.files import export, export_variants, model_file
from training.onnx_model import load_onnx

NEAR_TIE = 1e-5  # of the largest scores of a pixel: the service rounds elsewhere


@pytest.fixture(scope="module")
def where(shapes: Path) -> Measurements:
    return Measurements(DATASET.evaluation(shapes, "val"), training=DATASET.train(shapes))


@pytest.fixture(scope="module")
def folder(where: Measurements, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """colors.onnx, its weights and its variants; not to be written to."""
    folder = tmp_path_factory.mktemp("variants")
    export(color_checkpoint(), folder, "colors", where, VARIANTS)
    return folder


def card(folder: Path, precision: Precision) -> ModelCard:
    return load_onnx(model_file(folder, "colors", precision)).card


def test_every_variant_is_a_file_beside_the_model(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "colors.fp16.onnx",
        "colors.int8.onnx",
        "colors.onnx",
        "colors.safetensors",
    ]
    for precision in ("fp32", *VARIANTS):
        assert (card(folder, precision).name, card(folder, precision).precision) == ("colors", precision)


@pytest.mark.parametrize("precision", VARIANTS)
def test_a_variant_takes_bytes_and_gives_float32_at_any_size(folder: Path, precision: Precision) -> None:
    graph = onnx.load(model_file(folder, "colors", precision)).graph
    assert [entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.output)] == [
        onnx.TensorProto.UINT8,
        onnx.TensorProto.FLOAT,
    ]
    model, fp32 = load_onnx(model_file(folder, "colors", precision)), load_onnx(folder / "colors.onnx")
    for shape in ((1, 2, 2), (3, 34, 6), (2, 10, 66)):
        found, expected = model.scores(noise(*shape)), fp32.scores(noise(*shape))
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 0.02 * np.ptp(expected)


@pytest.mark.parametrize("precision", VARIANTS)
def test_the_card_of_a_variant_states_its_own_figures_and_what_it_lost(
    folder: Path, where: Measurements, precision: Precision
) -> None:
    fp32, variant = card(folder, "fp32"), card(folder, precision)
    assert fp32.metrics[0].mean_iou > 0.8
    assert fp32.compared is None
    assert where.labelled is not None
    again = evaluate(load_onnx(model_file(folder, "colors", precision)).segmenter, where.labelled, 7, where.labelled.stems())
    assert variant.metrics[0].mean_iou == again.mean_iou
    assert variant.compared is not None
    assert variant.compared.fp32_mean_iou == fp32.metrics[0].mean_iou
    assert variant.compared.lost_points == pytest.approx(100 * (fp32.metrics[0].mean_iou - again.mean_iou))
    assert variant.compared.lost_points <= 0.5


@pytest.mark.parametrize("precision", VARIANTS)
def test_the_card_of_a_variant_states_its_latency_beside_that_of_fp32(folder: Path, precision: Precision) -> None:
    fp32, variant = card(folder, "fp32"), card(folder, precision)
    assert fp32.latency is not None and variant.latency is not None and variant.compared is not None
    assert variant.compared.fp32_milliseconds == fp32.latency.milliseconds
    assert variant.compared.latency_ratio == pytest.approx(fp32.latency.milliseconds / variant.latency.milliseconds)


def test_the_service_answers_with_the_int8_file_when_asked(folder: Path, shapes: Path) -> None:
    photo = shapes / "JPEGImages" / "val000.jpg"
    settings = Settings.model_validate({"models_dir": folder, "default_model": "colors"})
    with TestClient(create_app(settings)) as client:
        asked = {"precision": "int8"}
        answer = client.post("/segment", params=asked, files={"file": photo.read_bytes()}).json()
        mask = client.post("/segment", params={**asked, "format": "mask"}, files={"file": photo.read_bytes()}).content
    assert answer["model"]["precision"] == "int8"
    segmenter = load_onnx(folder / "colors.int8.onnx").segmenter
    with Image.open(photo) as image, Image.open(io.BytesIO(mask)) as found:
        differs = np.asarray(found) != segmenter.labels(image)
        working = working_size(*image.size, segmenter.long_side)
        scores = segmenter.scores(network_input(image, working, segmenter.stride, segmenter.pad_value))[0]
        strips = [strip.copy() for _, strip in enlarge(scores, working, image.size, segmenter.output_stride)]
    near = margins(np.concatenate(strips).swapaxes(0, 1).astype(np.float64))
    assert near[differs].max(initial=0) < NEAR_TIE, f"{differs.sum()} pixels differ"


@pytest.mark.parametrize("precision", VARIANTS)
def test_what_loses_too_much_is_refused_with_the_figure_and_nothing_is_written(
    where: Measurements, tmp_path: Path, precision: Precision
) -> None:
    """Scores near 1000 differ by less than int8 and fp16 can tell."""
    offset = {"int8": 1000, "fp16": 8000}[precision]
    with pytest.raises(AccuracyError, match=rf"{precision} loses \d+\.\d\d points of mean IoU on the val split"):
        export(color_checkpoint(offset), tmp_path, "colors", where, [precision])
    assert not any(tmp_path.iterdir())


def test_a_model_that_is_there_already_gets_variants_and_stays_as_it_is(
    folder: Path, where: Measurements, tmp_path: Path
) -> None:
    path = tmp_path / "renamed.onnx"
    path.write_bytes((folder / "colors.onnx").read_bytes())
    [(made, its_card)] = export_variants(path, where, ["int8"]).items()
    assert made == tmp_path / "renamed.int8.onnx"
    assert (its_card.name, its_card.precision) == ("colors", "int8")
    assert path.read_bytes() == (folder / "colors.onnx").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_variant_of_a_variant_is_refused(folder: Path, where: Measurements) -> None:
    with pytest.raises(InputError, match="give the fp32 file"):
        export_variants(folder / "colors.int8.onnx", where, ["fp16"])


def test_a_variant_needs_images_to_be_compared_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --data"):
        export(color_checkpoint(), tmp_path, "colors", Measurements(), ["fp16"])
    assert not any(tmp_path.iterdir())


def test_no_variant_of_an_older_model_is_left_beside_a_new_one(where: Measurements, tmp_path: Path) -> None:
    (tmp_path / "colors.int8.onnx").write_bytes(b"old")
    with pytest.raises(InputError, match=r"colors\.int8\.onnx was made from"):
        export(color_checkpoint(), tmp_path, "colors", where, ["fp16"])
    assert [path.name for path in tmp_path.iterdir()] == ["colors.int8.onnx"]
