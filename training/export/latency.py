"""Measures the time that a model file takes from one image's pixels, at its input size, to scores."""

import time
from collections.abc import Sequence

import numpy as np

from service.contract import INPUT_NAME, OUTPUT_NAME, Latency
from service.geometry import padded_size
from training.machine import processor_name
from training.networks.complexity import HEIGHT, WIDTH
from training.onnx_model import OnnxModel, open_session

WARM_UP, ROUNDS = 3, 30


def measure_latency(models: Sequence[OnnxModel]) -> list[Latency]:
    """The median latency of each model for one 480x352 image, rounded up to the model's stride; the models take turns.

    A busy moment of the machine then affects all models alike, so that their ratio stays right if their times do not.
    """
    sessions = [open_session(model.content, model.card.name) for model in models]
    sizes = [padded_size(WIDTH, HEIGHT, model.card.stride) for model in models]
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (1, height, width, 3), dtype=np.uint8) for width, height in sizes]
    seconds = np.empty((WARM_UP + ROUNDS, len(models)))
    for turn in range(len(seconds)):
        for number in np.roll(np.arange(len(models)), turn):  # rotated: none always runs first
            start = time.perf_counter()
            sessions[number].run([OUTPUT_NAME], {INPUT_NAME: images[number]})
            seconds[turn, number] = time.perf_counter() - start
    return [
        Latency(
            milliseconds=float(median) * 1000,
            width=width,
            height=height,
            provider=session.get_providers()[0],
            threads=session.get_session_options().intra_op_num_threads,
            processor=processor_name(),
        )
        for median, (width, height), session in zip(np.median(seconds[WARM_UP:], axis=0), sizes, sessions, strict=True)
    ]
