"""Latencies are comparable: same run, same threads, each model's own size of image."""

from itertools import accumulate, chain
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from service.contract import ModelCard
from tests.training.export.color_network import color_checkpoint
from training.export.card import describe
from training.export.graph import to_onnx, with_card
from training.export.latency import WARM_UP, measure_latency
from training.onnx_model import OnnxModel, load_onnx, read_onnx


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    checkpoint = color_checkpoint()
    return read_onnx(with_card(to_onnx(checkpoint.network), describe(checkpoint, "timed")), "timed")


def test_a_latency_says_what_it_was_measured_with(model: OnnxModel) -> None:
    [found] = measure_latency([model])
    assert found.milliseconds > 0
    assert (found.width, found.height, found.provider) == (480, 352, "CPUExecutionProvider")
    assert found.threads == torch.get_num_threads()
    assert found.processor


def test_the_image_is_rounded_up_to_the_models_stride(model: OnnxModel) -> None:
    card: ModelCard = model.card.model_copy(update={"stride": 100})
    [found] = measure_latency([OnnxModel(model.content, card, model.scores)])
    assert (found.width, found.height) == (500, 400)


def test_the_first_runs_do_not_count(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = accumulate(chain.from_iterable((0, seconds) for seconds in [9] * WARM_UP + [2]))  # before and after each run
    monkeypatch.setattr("training.export.latency.ROUNDS", 1)
    monkeypatch.setattr("training.export.latency.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert measure_latency([model])[0].milliseconds == 2000


def test_the_heavier_model_takes_longer_whatever_the_order(model: OnnxModel, models: Path) -> None:
    heavy = load_onnx(models / "tiny.onnx")
    for pair in ([model, heavy], [heavy, model]):
        by_content = {one.content: latency.milliseconds for one, latency in zip(pair, measure_latency(pair), strict=True)}
        assert by_content[model.content] < by_content[heavy.content]
