"""What a GPU is prepared for, in sessions of the CPU that say that they are on one: shapes, batches, and images at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service import app
from service.http import segment
from service.inference.models.repository import Repository
from service.inference.scheduling.workers import Ticket
from service.inference.sessions import batching
from service.inference.sessions.batching import MAX_BATCH_SIZE
from service.inference.sessions.errors import OutOfDeviceMemory
from service.inference.sessions.runner import Runner
from service.pipeline import Job, process
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import mask_of, post, samples, strongest_color
from tests.service.helpers.live import PATIENCE_S
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiny_models import write_model

IMAGE = encoded(flag())
pytestmark = pytest.mark.usefixtures("says_cuda")


def test_on_a_gpu_images_are_run_in_batches_whose_shapes_are_warmed(
    ran: list[tuple[int, int, int]], tmp_path: Path, make_client: MakeClient
) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    client = make_client(models_dir=tmp_path)
    sides = [(96, 128), (128, 128), (128, 96)]
    assert ran == [(1, 16, 144), (1, 128, 128), *((number, *side) for number in (1, 4) for side in sides)]
    warmed = len(ran)
    assert np.array_equal(mask_of(client, IMAGE), strongest_color(flag()))
    assert ran[warmed:] == [(1, 64, 96)]
    assert samples(client)["segment_runs_total", "on_gpu"] == 1
    warmed = len(ran)
    mask_of(client, IMAGE, precision="fp16")  # loaded while a request waits: tried out, and no more
    assert ran[warmed:] == [(1, 16, 144), (1, 128, 128), (1, 64, 96)]


def test_a_batch_that_would_be_too_large_is_not_warmed(
    ran: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES", 1)
    write_model(tmp_path)
    assert Repository(tmp_path, "cpu").models
    assert {number for number, _, _ in ran} == {1}


def test_a_batch_that_finds_too_little_memory_in_the_warm_up_keeps_no_model_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, refused = Runner._run_bound, []

    def short(one: Runner, given: Any, size: int, *more: Any) -> NDArray[np.generic]:  # noqa: ANN401
        if size > 1:
            refused.append(size)
            raise OutOfDeviceMemory("full")
        return run(one, given, size, *more)

    monkeypatch.setattr(Runner, "_run_bound", short)
    write_model(tmp_path)
    assert Repository(tmp_path, "cpu").models
    assert refused


def test_on_a_gpu_so_many_images_are_in_work_as_a_batch_and_the_cores_take(
    monkeypatch: pytest.MonkeyPatch, make_client: MakeClient
) -> None:
    most = 2 + MAX_BATCH_SIZE
    together = threading.Barrier(most)

    def meeting(job: Job, ticket: Ticket) -> object:
        together.wait(PATIENCE_S)
        return process(job, ticket)

    monkeypatch.setattr(app, "usable_cpus", lambda: 2)
    monkeypatch.setattr(segment, "process", meeting)
    client = make_client()
    with ThreadPoolExecutor(most) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: post(client, IMAGE), range(most))} == {200}
