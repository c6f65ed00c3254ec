"""Trainer and service agree: one geometry, one set of metrics, whoever computes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.app import create_app
from service.geometry import enlarge, label_map, padded_size, working_size
from service.metrics import VOID, ConfusionMatrix
from service.settings import Settings
from tests.service.helpers.answers import mask_of
from tests.service.helpers.pictures import encoded
from tests.training.export.color_network import color_checkpoint
from training.checkpoint import Checkpoint
from training.data.datasets import DATASETS
from training.evaluate import evaluate, torch_segmenter
from training.export.card import Measurements
from training.export.files import export
from training.onnx_model import load_onnx

CLASSES = 4


def enlarged(scores: NDArray[np.float32], working: tuple[int, int], user: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """(C, H, W): the service's strips, joined."""
    return np.concatenate([strip.copy() for _, strip in enlarge(scores, working, user, stride)]).transpose(1, 0, 2)


def by_torch(scores: NDArray[np.float32], working: tuple[int, int], user: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """(C, H, W): torch's bilinear sampling at the position of each user pixel that `service.geometry.places` gives."""
    _, cells_y, cells_x = scores.shape
    u = (torch.arange(user[0], dtype=torch.float64) + 0.5) * working[0] / (user[0] * stride) - 0.5
    v = (torch.arange(user[1], dtype=torch.float64) + 0.5) * working[1] / (user[1] * stride) - 0.5
    y, x = torch.meshgrid((2 * v + 1) / cells_y - 1, (2 * u + 1) / cells_x - 1, indexing="ij")
    sampled = F.grid_sample(
        torch.from_numpy(scores).double()[None], torch.stack([x, y], -1)[None], "bilinear", "border", align_corners=False
    )
    return sampled[0].float().numpy()


@given(
    user=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    long_side=st.one_of(st.none(), st.integers(16, 64)),
    stride=st.sampled_from([1, 4, 8]),
    seed=st.integers(0, 1000),
)
def test_the_service_enlarges_scores_as_torch_samples_them(
    user: tuple[int, int], long_side: int | None, stride: int, seed: int
) -> None:
    working = working_size(*user, long_side)
    width, height = padded_size(*working, 16)
    scores = np.random.default_rng(seed).normal(size=(CLASSES, height // stride, width // stride)).astype(np.float32)
    expected, found = by_torch(scores, working, user, stride), enlarged(scores, working, user, stride)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    clear = np.diff(np.sort(expected, 0)[-2:], axis=0)[0] > 1e-4
    labels = label_map(scores, working, user, stride)
    assert (labels == expected.argmax(0))[clear].all()


@given(cells=st.tuples(st.integers(1, 12), st.integers(1, 12)), stride=st.sampled_from([2, 8, 16]), seed=st.integers(0, 1000))
def test_at_native_size_that_is_the_enlargement_of_the_training_loss(cells: tuple[int, int], stride: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(CLASSES, *cells)).astype(np.float32)
    size = (cells[1] * stride, cells[0] * stride)
    by_loss = F.interpolate(torch.from_numpy(scores)[None], size=size[::-1], mode="bilinear", align_corners=False)[0].numpy()
    np.testing.assert_allclose(enlarged(scores, size, size, stride), by_loss, atol=2e-5)


label_maps = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))


def drawn(height: int, width: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A truth with some void and few classes, and an estimate."""
    random = np.random.default_rng(seed)
    truth = random.choice(np.array([0, 1, 2, 3, VOID], np.uint8), (height, width), p=random.dirichlet(np.full(5, 0.5)))
    return truth, random.choice(CLASSES, (height, width), p=random.dirichlet(np.full(CLASSES, 0.5))).astype(np.uint8)


@given(images=st.lists(label_maps, min_size=1, max_size=4))
def test_metrics_are_those_of_counting_pixels_one_by_one(images: list[tuple[int, int, int]]) -> None:
    confusion = ConfusionMatrix(CLASSES)
    pairs: list[tuple[int, int]] = []
    for image in images:
        truth, estimate = drawn(*image)
        confusion.update(truth, estimate)
        pairs += [(int(t), int(e)) for t, e in zip(truth.flat, estimate.flat, strict=True) if t != VOID]
    iou: dict[int, float] = {}
    recall: dict[int, float] = {}
    share: dict[int, float] = {}
    for label in range(CLASSES):
        hit = sum(t == label and e == label for t, e in pairs)
        true, union = sum(t == label for t, _ in pairs), sum(label in pair for pair in pairs)
        if union:
            iou[label], share[label] = hit / union, true / len(pairs)
        if true:
            recall[label] = hit / true
    found = {label: value for label, value in enumerate(confusion.jaccard.tolist()) if not np.isnan(value)}
    assert found == pytest.approx(iou)
    if not pairs:
        assert all(np.isnan([confusion.mean_iou, confusion.pixel_accuracy, confusion.weighted_iou]))
        return
    assert confusion.mean_iou == pytest.approx(np.mean(list(iou.values())))
    assert confusion.weighted_iou == pytest.approx(sum(iou[label] * share[label] for label in iou))
    assert confusion.pixel_accuracy == pytest.approx(sum(t == e for t, e in pairs) / len(pairs))
    assert confusion.mean_class_accuracy == pytest.approx(np.mean(list(recall.values())))


def test_a_photo_above_the_long_side_gets_the_labels_that_the_service_gives_it(shapes: Path, tmp_path: Path) -> None:
    export(color_checkpoint(), tmp_path, "colors", Measurements())
    segmenter = load_onnx(tmp_path / "colors.onnx").segmenter
    with Image.open(shapes / "JPEGImages/val000.jpg") as small:
        photo = small.resize((333, 250))
    assert segmenter.long_side is not None and segmenter.long_side < 250
    with TestClient(create_app(Settings(models_dir=tmp_path, default_model="colors"))) as client:
        served = mask_of(client, encoded(photo))
    assert (segmenter.labels(photo) == served).mean() > 0.9999  # ties are rounded otherwise


def test_network_and_model_file_reach_the_same_figures(checkpoint: Checkpoint, models: Path, shapes: Path) -> None:
    reader = DATASETS["voc-animals"].evaluation(shapes, "val")
    by_network = evaluate(torch_segmenter(checkpoint.network, checkpoint.preset), reader, 7)
    by_file = evaluate(load_onnx(models / "tiny.onnx").segmenter, reader, 7)
    assert by_network.counts.sum() == 4 * 160 * 128
    assert abs(by_network.counts - by_file.counts).sum() <= 1e-4 * by_network.counts.sum()
