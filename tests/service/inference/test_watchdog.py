"""A service that can no longer compute says so, and one that is only busy does not."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import onnxruntime as ort
import pytest
from fastapi.testclient import TestClient

from service import app
from service.app import create_app
from service.contract import METADATA_KEY
from service.http import segment
from service.http.lifecycle import Lifecycle
from service.inference.scheduling import watchdog
from service.inference.scheduling.workers import Ticket
from service.pipeline import Job, process
from service.results.renderings import Rendered
from service.settings import Settings
from tests.service.helpers.answers import assert_problem, post
from tests.service.helpers.live import PATIENCE_S, Endless
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.short_sessions import MESSAGE
from tests.service.helpers.tiny_models import write_model
from tests.service.helpers.waiting import wait_until

WATCHED = "watched"  # dataset on the card of the model whose runs are counted
Own = Callable[..., TestClient]
IMAGE = encoded(flag())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(watchdog, "QUIET_S", 0.05)
    monkeypatch.setattr(watchdog, "TRIAL_S", 1.0)
    monkeypatch.setattr(watchdog, "HUNG_S", 1.0)


class Runs:
    """Counts the runs of the watched model's sessions, and can make them fail or hang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fault: Callable[[ort.RunOptions], None] | None = None
        original = ort.InferenceSession
        runs = self

        class Session(original):  # type: ignore[misc, valid-type]  # the package has no types
            def run(self, names: list[str], inputs: dict[str, object], options: ort.RunOptions) -> object:
                if WATCHED in self.get_modelmeta().custom_metadata_map.get(METADATA_KEY, ""):
                    runs.count += 1
                    if runs.fault is not None:
                        runs.fault(options)
                return super().run(names, inputs, options)

        monkeypatch.setattr(ort, "InferenceSession", Session)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    """Makes an application that is stopped after the test: its watchdog runs as long as it does."""
    write_model(tmp_path, dataset=WATCHED)
    with ExitStack() as stack:
        settings = {"models_dir": tmp_path, "default_model": "colors", "reload_s": 0}
        yield lambda **changes: stack.enter_context(TestClient(create_app(Settings.model_validate(settings | changes))))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


def lost_context(_: ort.RunOptions) -> None:
    raise RuntimeError(
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. Name:'hardtanh_1' "
        "Status Message: CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=server ; "
        "expr=cudaStreamSynchronize(static_cast<cudaStream_t>(GetComputeStream()));"
    )


def lacks_memory(_: ort.RunOptions) -> None:
    raise RuntimeError(MESSAGE)


def hangs(options: ort.RunOptions) -> None:
    wait_until(lambda: options.terminate, 2 * PATIENCE_S)  # if nobody calls it off, it outlasts the test
    raise RuntimeError("Exiting due to terminate flag being set to true.")


@pytest.mark.parametrize("fault", [lost_context, hangs])
def test_a_service_whose_runs_fail_or_hang_is_dead_until_one_succeeds(
    fault: Callable[[ort.RunOptions], None], own: Own, runs: Runs
) -> None:
    client = own()
    wait_until(lambda: runs.count > 2)
    assert client.get("/livez").status_code == 200
    runs.fault = fault
    wait_until(lambda: client.get("/livez").status_code == 503)
    for path in ("/livez", "/readyz"):
        assert_problem(client.get(path), 503, "test images fail")
    runs.fault = None
    wait_until(lambda: client.get("/livez").status_code == 200)


def test_a_service_that_lacks_memory_is_not_dead_and_a_test_image_shows_that_it_is_ready_again(own: Own, runs: Runs) -> None:
    client = own()
    runs.fault = lacks_memory
    wait_until(lambda: client.get("/readyz").status_code == 503)
    before = runs.count
    wait_until(lambda: runs.count > before + watchdog.FAILED_TRIALS + 1)
    assert client.get("/livez").status_code == 200
    runs.fault = None
    wait_until(lambda: client.get("/readyz").status_code == 200)


def test_several_models_have_the_time_of_a_trial_each(
    own: Own, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "TRIAL_S", 0.3)
    for number in range(3):
        write_model(tmp_path, f"{number}.onnx", name=f"model-{number}", dataset=WATCHED)
    client = own()
    runs.fault = lambda _: time.sleep(0.15)  # all four take twice as long as one may
    before = runs.count
    wait_until(lambda: runs.count > before + 6)  # a whole trial, wherever in a trial the first of them was
    assert client.get("/livez").status_code == 200


def test_trials_are_as_far_apart_as_it_may_be_quiet(own: Own, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "QUIET_S", 0.3)
    own()
    trials: list[float] = []
    runs.fault = lambda _: trials.append(time.monotonic())
    wait_until(lambda: len(trials) > 3)
    assert min(later - earlier for earlier, later in pairwise(trials)) >= watchdog.QUIET_S


def test_while_another_model_runs_one_that_fails_is_no_death(own: Own, runs: Runs, tmp_path: Path) -> None:
    write_model(tmp_path, "another.onnx", name="another")
    client = own()
    runs.fault = lost_context
    before = runs.count
    wait_until(lambda: runs.count > before + watchdog.FAILED_TRIALS + 1)
    assert client.get("/livez").status_code == 200


def test_a_service_whose_runs_all_fail_is_dead_though_it_is_always_busy(
    own: Own, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "usable_cpus", lambda: 2)  # a worker is left beside the one that never ends
    endless = Endless()
    client = own()
    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(segment, "process", endless)
            pool.submit(post, client, IMAGE)
            assert endless.started.wait(PATIENCE_S)
        runs.fault = lost_context
        try:
            assert_problem(post(client, IMAGE), 503, "CUDA failure 700")
            wait_until(lambda: client.get("/livez").status_code == 503, PATIENCE_S / 2)  # the endless work has all of it
        finally:
            Lifecycle.of(client.app).give_up()


def test_a_service_that_is_busy_is_not_tried(own: Own, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, waiting = threading.Event(), threading.Event()

    def held(job: Job, ticket: Ticket) -> tuple[object, Rendered]:
        waiting.set()
        assert gate.wait(PATIENCE_S)
        return process(job, ticket)

    monkeypatch.setattr(segment, "process", held)
    client = own()
    working = threading.Thread(target=post, args=(client, IMAGE))
    working.start()
    assert waiting.wait(PATIENCE_S)
    time.sleep(0.5)  # a trial that was under way
    before = runs.count
    time.sleep(0.3)
    assert runs.count == before
    assert client.get("/livez").status_code == 200
    gate.set()
    working.join()


def test_while_requests_succeed_nothing_is_tried(own: Own, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "QUIET_S", 0.5)
    answered = [time.monotonic()]
    client = own()
    loaded = runs.count
    while answered[-1] < answered[0] + 2.0:  # several times as long as it may be quiet
        assert post(client, IMAGE).status_code == 200
        answered.append(time.monotonic())
        time.sleep(0.02)
    # Half of it is a margin: a machine that stalls for that long is quiet for the watchdog too.
    quiet_spells = sum(later - earlier > watchdog.QUIET_S / 2 for earlier, later in pairwise(answered))
    trials = runs.count - loaded - (len(answered) - 1)
    assert trials <= quiet_spells


def test_work_that_does_not_end_though_it_was_cancelled_is_death(
    own: Own, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "QUIET_S", 2 * PATIENCE_S)  # no trial is needed to see that it lives again
    gate = threading.Event()

    def hung(job: Job, ticket: Ticket) -> tuple[object, Rendered]:
        assert gate.wait(PATIENCE_S)
        return process(job, ticket)

    client = own(deadline_s=0.1, deadline_s_per_megapixel=0)
    wait_until(lambda: post(client, IMAGE).status_code == 200)
    monkeypatch.setattr(segment, "process", hung)
    assert_problem(post(client, IMAGE), 504, limit=0.1)
    assert client.get("/livez").status_code == 200
    wait_until(lambda: client.get("/livez").status_code == 503)
    for _ in range(20):  # at each of which the watchdog has looked again
        assert client.get("/livez").status_code == 503
        time.sleep(0.02)
    assert caplog.text.count("work does not end") == 1
    gate.set()
    wait_until(lambda: client.get("/livez").status_code == 200)


def test_a_trial_that_hangs_is_not_followed_by_others_and_told_once(
    own: Own, runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "TRIAL_S", 0.05)
    gate = threading.Event()

    begun: list[str] = []  # by thread; other applications of this process have watchdogs and trials of their own

    def stuck(_: ort.RunOptions) -> None:
        begun.append(threading.current_thread().name)
        assert gate.wait(PATIENCE_S)
        raise RuntimeError("late")

    client = own()
    runs.fault = stuck
    try:
        wait_until(lambda: client.get("/livez").status_code == 503)
        time.sleep(0.5)  # in which many more looks are taken
        assert begun == ["trial"]
        assert caplog.text.count("trials in a row failed") == 1
    finally:
        runs.fault = None
        gate.set()
    wait_until(lambda: client.get("/livez").status_code == 200)
