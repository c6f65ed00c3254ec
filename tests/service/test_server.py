"""Stopping: what has reached the machine is answered."""

import http.client
import io
import signal
import time

from service.server import SETTLE_S
from tests.photos import photo
from tests.service_process import start_server


def test_requests_sent_but_not_yet_accepted_are_answered_before_it_stops() -> None:
    buffer = io.BytesIO()
    photo("chelsea.png").save(buffer, "JPEG")
    server = start_server()
    address = server.url.removeprefix("http://")
    kept = http.client.HTTPConnection(address, timeout=60)  # open since before, idle
    kept.request("GET", "/livez")
    kept.getresponse().read()
    server.process.send_signal(signal.SIGSTOP)  # from here on the kernel accepts, and nobody reads
    connections = [kept, *(http.client.HTTPConnection(address, timeout=60) for _ in range(5))]
    for connection in connections:
        connection.request("POST", "/segment", buffer.getvalue(), {"Content-Type": "image/jpeg"})
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    server.process.send_signal(signal.SIGCONT)
    answers = [connection.getresponse() for connection in connections]
    assert [answer.status for answer in answers] == [200] * 6
    assert all(answer.read().endswith(b"}") for answer in answers)
    assert all(answer.getheader("connection") == "close" for answer in answers)
    assert server.process.wait(timeout=60) == -signal.SIGTERM  # Uvicorn raises it again; as process 1 it ends with 0


def test_a_connection_made_before_it_stops_may_still_send_its_request() -> None:
    server = start_server()
    probe, late = (http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60) for _ in range(2))
    for connection in (probe, late):
        connection.connect()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(SETTLE_S / 4)
    probe.request("GET", "/readyz")
    assert probe.getresponse().status == 503
    late.request("GET", "/livez")
    assert late.getresponse().status == 200
    assert server.process.wait(timeout=60) == -signal.SIGTERM
