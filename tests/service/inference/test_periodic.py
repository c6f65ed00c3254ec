"""A task that is run again and again on a thread of its own."""

import threading

import pytest

from service.inference.scheduling.periodic import PeriodicThread
from tests.service.helpers.live import PATIENCE_S


def test_a_task_that_fails_is_told_and_run_again(caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([OSError("no such folder")])
    was_run_again = threading.Event()

    def task() -> None:
        for error in errors:
            raise error
        was_run_again.set()

    thread = PeriodicThread("models", 0.01, task)
    thread.start()
    assert was_run_again.wait(PATIENCE_S)
    thread.stop()
    assert "models: failed, and will be tried again" in caplog.text and "no such folder" in caplog.text
