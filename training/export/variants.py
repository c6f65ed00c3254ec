"""Makes smaller and faster variants of an fp32 model; their cards state what they lose and gain."""

from collections.abc import Collection
from dataclasses import replace

import onnx

from service.contract import Comparison, ModelCard, Precision
from training.errors import InputError
from training.export.accuracy import lost_points, require_accuracy
from training.export.card import Measurements, measured
from training.export.fp16 import to_fp16
from training.export.graph import with_card
from training.export.int8 import calibration_images, to_int8
from training.export.latency import measure_latency
from training.onnx_model import OnnxModel, read_onnx


def with_variants(fp32: OnnxModel, where: Measurements, variants: Collection[Precision]) -> list[OnnxModel]:
    """`fp32` and a variant of it for each precision in `variants`, with every figure on their cards.

    Raises AccuracyError if a variant loses too much, InputError if there are no images to compare or to calibrate it on.
    """
    if variants and where.labelled is None:
        raise InputError("a variant is compared with fp32 on labelled images: give --data")
    models = [_described(fp32, measured(fp32.card, fp32.segmenter, where))]
    for precision in variants:
        bare = _convert(fp32, precision, where)
        variant = _described(bare, measured(bare.card, bare.segmenter, where))
        require_accuracy(variant.card, models[0].card)
        models.append(variant)
    return _timed(models)


def _convert(fp32: OnnxModel, precision: Precision, where: Measurements) -> OnnxModel:
    graph = onnx.load_from_string(fp32.content)
    if precision == "fp16":
        converted = to_fp16(graph)
    elif where.training is None:
        raise InputError("int8 is calibrated on training images: give --data")
    else:
        converted = to_int8(graph, calibration_images(where.training, fp32.card))
    card = fp32.card.model_copy(update={"precision": precision})
    return read_onnx(with_card(converted, card), f"{card.name} in {precision}")


def _timed(models: list[OnnxModel]) -> list[OnnxModel]:
    """The models, fp32 first, with latencies, and for each variant the comparison with fp32."""
    latencies = measure_latency(models)
    timed = []
    for model, latency in zip(models, latencies, strict=True):
        compared = (
            None
            if model is models[0]
            else _comparison(model.card, models[0].card, latency.milliseconds, latencies[0].milliseconds)
        )
        timed.append(_described(model, model.card.model_copy(update={"latency": latency, "compared": compared})))
    return timed


def _comparison(card: ModelCard, fp32: ModelCard, milliseconds: float, fp32_milliseconds: float) -> Comparison:
    return Comparison(
        fp32_mean_iou=fp32.metrics[0].mean_iou,
        lost_points=lost_points(card.metrics[0], fp32.metrics[0]),
        fp32_milliseconds=fp32_milliseconds,
        latency_ratio=fp32_milliseconds / milliseconds,
    )


def _described(model: OnnxModel, card: ModelCard) -> OnnxModel:
    """The model with another card."""
    return replace(model, content=with_card(onnx.load_from_string(model.content), card), card=card)
