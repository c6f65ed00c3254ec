"""What one side sends and the other does not take: bodies that nobody wants, answers and work that nobody waits for."""

import socket
import time
from contextlib import ExitStack, suppress
from unittest.mock import Mock

import pytest

from service.http import connections, segment, unsent
from tests.service.helpers.live import PATIENCE_S, Endless, Line
from tests.service.helpers.slow_clients import (
    GET,
    GET_MEGABYTE,
    IMAGE,
    POST,
    SHORT_S,
    answers,
    counted,
    counting,
    noise,
    noise_request,
    refusals,
    slow_reader,
)
from tests.service.helpers.waiting import wait_until

pytestmark = pytest.mark.usefixtures("impatient_with_heads")


def test_an_early_answer_to_a_large_body_reaches_a_client_that_sends_all_of_it_first(address: tuple[str, int]) -> None:
    line = Line(address)
    size = 20_000_000
    line.send(b"POST /nothing HTTP/1.1\r\nHost: test\r\n" + f"Content-Length: {size}\r\n\r\n".encode() + b"x" * size)
    assert line.response().status_code == 404
    line.send(GET)
    assert line.response().status_code == 200


def test_a_body_that_nobody_wants_and_that_does_not_end_is_cut_off(address: tuple[str, int]) -> None:
    line = Line(address)
    line.send(b"POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nstart")
    assert line.response().status_code == 404
    line.send(b"more")
    assert line.is_closed()


@pytest.mark.parametrize("form", [False, True])
def test_work_stops_and_frees_its_place_when_the_client_goes(
    form: bool, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Endless()
    monkeypatch.setattr(segment, "process", held)
    line = Line(address)
    content, kind = IMAGE, "Content-Type: image/png"
    if form:
        content = b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + IMAGE + b"\r\n--b--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=b"
    request = b"POST /segment HTTP/1.1\r\nHost: test\r\n" + f"{kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    with counting(address, answers(499)):
        line.send(request + content)
        assert held.started.wait(PATIENCE_S)
        assert counted(address, "segment_admitted_megapixels") > 0
        line.close()
        assert held.cancelled.wait(PATIENCE_S)
    wait_until(lambda: counted(address, "segment_admitted_megapixels") == 0)


@pytest.mark.parametrize(
    "behind", [GET, 50 * GET, POST, POST[:-10], POST + b"nonsense"], ids=["one", "many", "a body", "half a body", "nonsense"]
)
@pytest.mark.parametrize("pause_s", [0, 0.2])
def test_a_client_that_leaves_requests_behind_the_one_at_work_is_worked_for_no_longer(
    pause_s: float, behind: bytes, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Endless()
    monkeypatch.setattr(segment, "process", held)
    line = Line(address)
    line.send(POST if pause_s else POST + behind)
    assert held.started.wait(PATIENCE_S)
    if pause_s:
        time.sleep(pause_s)  # the service waits for the client to leave
        line.send(behind)
        time.sleep(pause_s)
    line.close()
    assert held.cancelled.wait(PATIENCE_S / 2)  # long before its deadline


def test_a_client_that_does_not_take_its_answers_is_cut_off(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent, "WRITE_CHECK_S", SHORT_S)
    with slow_reader(address) as connection:
        times = 40
        connection.sendall(times * GET_MEGABYTE)
        time.sleep(5 * SHORT_S)
        received = 0
        with suppress(ConnectionResetError):
            while chunk := connection.recv(1 << 20):
                received += len(chunk)
    assert 0 < received < times * 1_000_000


def test_a_client_that_has_taken_half_of_its_answer_and_then_pauses_is_cut_off(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsent, "WRITE_CHECK_S", SHORT_S)
    with slow_reader(address) as connection, suppress(ConnectionResetError):
        received = 0
        with counting(address, refusals("not taken")):
            connection.sendall(noise_request("Connection: close"))
            while received < len(noise()) // 2 and (chunk := connection.recv(1 << 14)):
                received += len(chunk)
        while chunk := connection.recv(1 << 20):
            received += len(chunk)
    assert received < len(noise())


def test_an_answer_that_is_written_while_the_clock_of_the_one_before_runs_has_its_own_time() -> None:
    transport, loop, too_slow = Mock(), Mock(), Mock()
    watch = unsent.UnsentWatch(transport, loop, too_slow)
    transport.get_write_buffer_size.return_value = 40_000  # too little to pause writing
    watch.start()
    transport.get_write_buffer_size.return_value = 5_000_000  # the first is taken, and the next one written
    watch.start()
    for is_late in (False, True):
        _, check, before = loop.call_later.call_args.args
        check(before)
        assert too_slow.called == is_late


def test_of_too_many_answers_the_one_goes_that_has_been_taken_for_longest(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNSENT_BYTES", 4 * len(noise()))
    request = noise_request("Connection: close")
    lines, received = [], []
    with ExitStack() as stack:
        for _ in range(6):
            lines.append(stack.enter_context(slow_reader(address)))
            lines[-1].sendall(request)
            lines[-1].recv(1, socket.MSG_PEEK)  # its answer is there
        for line in lines:
            received.append(0)
            with suppress(ConnectionResetError):
                while chunk := line.recv(1 << 20):
                    received[-1] += len(chunk)
    assert received[0] < len(noise()) < received[-1]


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsent, "WRITE_CHECK_S", 1.5)
    with slow_reader(address) as connection:
        times, received, start = 8, 0, time.monotonic()
        connection.sendall((times - 1) * GET_MEGABYTE + GET_MEGABYTE[:-2] + b"Connection: close\r\n\r\n")
        while chunk := connection.recv(1 << 16):
            received += len(chunk)
            if time.monotonic() < start + 4:
                time.sleep(0.02)
    assert received > times * 1_000_000


def test_a_client_that_has_taken_one_answer_has_its_time_for_the_next(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsent, "WRITE_CHECK_S", 1.5)
    with slow_reader(address) as connection:
        connection.sendall(GET_MEGABYTE)
        received = len(connection.recv(1, socket.MSG_PEEK))
        time.sleep(0.3)  # the answer waits to be taken: the clock runs
        while received < 1_000_000:
            received += len(connection.recv(1 << 16))
        time.sleep(0.4)
        connection.sendall(GET_MEGABYTE)
        time.sleep(1.5)  # over the end of the first answer's time
        while received < 2_000_000:
            chunk = connection.recv(1 << 16)
            assert chunk
            received += len(chunk)
