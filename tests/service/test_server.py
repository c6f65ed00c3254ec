"""Stopping: what has reached the machine is answered."""

import http.client
import io
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service import server
from service.http import segment, uploads
from service.http.lifecycle import Lifecycle
from service.server import SETTLE_S
from tests.photos import photo
from tests.service.helpers.answers import assert_problem
from tests.service.helpers.live import Endless, Gate, Line, colors_app, head, serving
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.slow_clients import line_at_work
from tests.service.helpers.waiting import wait_until
from tests.service_process import start_server

IMAGE = encoded(flag())
PATIENCE_S = 30.0


def test_requests_sent_but_not_yet_accepted_are_answered_before_it_stops() -> None:
    buffer = io.BytesIO()
    photo("chelsea.png").save(buffer, "JPEG")
    started = start_server()
    address = started.url.removeprefix("http://")
    kept = http.client.HTTPConnection(address, timeout=60)  # open since before, idle
    kept.request("GET", "/livez")
    kept.getresponse().read()
    started.process.send_signal(signal.SIGSTOP)  # from here on the kernel accepts, and nobody reads
    connections = [kept, *(http.client.HTTPConnection(address, timeout=60) for _ in range(5))]
    for connection in connections:
        connection.request("POST", "/segment", buffer.getvalue(), {"Content-Type": "image/jpeg"})
    started.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    started.process.send_signal(signal.SIGCONT)
    answers = [connection.getresponse() for connection in connections]
    assert [answer.status for answer in answers] == [200] * 6
    assert all(answer.read().endswith(b"}") for answer in answers)
    assert all(answer.getheader("connection") == "close" for answer in answers)
    assert started.process.wait(timeout=60) == -signal.SIGTERM  # Uvicorn raises it again; as process 1 it ends with 0


def test_a_connection_made_before_it_stops_may_still_send_its_request() -> None:
    started = start_server()
    probe, late = (http.client.HTTPConnection(started.url.removeprefix("http://"), timeout=60) for _ in range(2))
    for connection in (probe, late):
        connection.connect()
    started.process.send_signal(signal.SIGTERM)
    time.sleep(SETTLE_S / 4)
    probe.request("GET", "/readyz")
    assert probe.getresponse().status == 503
    late.request("GET", "/livez")
    assert late.getresponse().status == 200
    assert started.process.wait(timeout=60) == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can keep handshakes from beginning")
def test_no_connection_is_made_between_the_last_that_is_accepted_and_the_end_of_listening(
    colors_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = socket.socket()
    late.settimeout(0.2)
    failures: list[type[OSError]] = []

    def accept_all_just_before_another_comes(listener: socket.socket) -> list[socket.socket]:
        accepted = accept_all(listener)
        try:
            late.connect(listener.getsockname())  # if this succeeds, the end of listening resets it
        except OSError as error:
            failures.append(type(error))
        return accepted

    accept_all = server._accept_all
    monkeypatch.setattr(server, "_accept_all", accept_all_just_before_another_comes)
    with serving(colors_app(colors_folder)) as address:
        pass
    assert failures == [TimeoutError]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    late.close()


def test_work_that_takes_too_long_when_it_stops_is_answered_503(colors_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Endless()
    monkeypatch.setattr(segment, "process", endless)
    monkeypatch.setattr("service.server.GIVE_UP_S", 0.5)
    with serving(colors_app(colors_folder)) as address:
        line = line_at_work(address, endless)
        start = time.monotonic()
    assert time.monotonic() < start + PATIENCE_S / 2
    answer = line.response()
    assert_problem(answer, 503, "the service is stopping")
    assert answer.headers["connection"] == "close"
    line.close()


def test_an_answer_that_is_ready_while_it_waits_for_others_requests_ends_its_connection(
    colors_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server.SETTLE_S", PATIENCE_S)
    gate, app = Gate(), colors_app(colors_folder)
    monkeypatch.setattr(segment, "process", gate)

    def answered_after_the_end_has_begun() -> httpx.Response:
        wait_until(Lifecycle.of(app).draining.is_set)
        gate.open.set()
        answer = working.response()
        for line in (working, silent):  # nobody is waited for any more
            line.close()
        return answer

    with ThreadPoolExecutor(1) as pool, serving(app) as address:
        silent, working = Line(address), line_at_work(address, gate)
        answer = pool.submit(answered_after_the_end_has_begun)
    assert answer.result().status_code == 200
    assert answer.result().headers.get("connection") == "close"


def test_it_stops_at_last_whatever_is_under_way(colors_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.DRAIN_S", 1)
    monkeypatch.setattr("service.server.GIVE_UP_S", 10 * PATIENCE_S)
    endless = Endless()
    monkeypatch.setattr(segment, "process", endless)
    with serving(colors_app(colors_folder)) as address:
        line = line_at_work(address, endless)
        start = time.monotonic()
    assert time.monotonic() < start + PATIENCE_S / 2
    line.close()


def test_of_half_sent_bodies_it_answers_those_that_go_on_and_does_not_wait_for_those_that_paused(
    colors_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PAUSE_S", 2.0)

    def go_on() -> None:
        for piece in (IMAGE[50:60], IMAGE[60:70], IMAGE[70:80], IMAGE[80:]):
            time.sleep(0.75)
            going_on.send(piece)

    with serving(colors_app(colors_folder)) as address:
        paused, going_on = Line(address), Line(address)
        for line in (paused, going_on):
            line.send(head(f"Content-Length: {len(IMAGE)}") + IMAGE[:50])
        sender = threading.Thread(target=go_on)
        sender.start()
        start = time.monotonic()
    assert time.monotonic() < start + PATIENCE_S / 2  # neither GIVE_UP_S nor DRAIN_S
    sender.join()
    assert going_on.response().status_code == 200
    assert paused.response().status_code == 408
    for line in (paused, going_on):
        line.close()
