"""The log: a line for each request, with its id, and nothing of what was sent."""

import json
import logging
import struct
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service import logs
from service.http import segment
from service.inference.scheduling.workers import Ticket
from service.pipeline import Job, process
from service.results.renderings import Rendered
from tests.service.helpers.answers import post
from tests.service.helpers.pictures import SIZE, chunk, encoded, flag, png, tiff
from tests.service_process import ROOT


def formatted(record: logging.LogRecord) -> dict[str, object]:
    return dict(json.loads(logs.JsonFormatter().format(record)))


def request_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [formatted(record) for record in caplog.records if record.getMessage() == "request"]


def test_a_request_is_one_line_of_json(colors: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert post(colors, encoded(flag()), opacity=0.25).status_code == 200
    [line] = request_lines(caplog)
    assert line.items() >= {"level": "INFO", "method": "POST", "route": "/segment", "status": 200}.items()
    assert isinstance(line["milliseconds"], float)
    assert "0.25" not in json.dumps({key: value for key, value in line.items() if key != "milliseconds"})


def test_what_a_client_makes_up_is_not_logged(colors: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    colors.get("/a-secret-path?and=more", headers={"Authorization": "Bearer secret"})
    [line] = request_lines(caplog)  # the test client, which is httpx, logs too
    assert line["route"] == "none" and "secret" not in str(line)


def test_probes_are_not_logged(colors: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for path in ("/livez", "/readyz", "/metrics"):
        assert colors.get(path).status_code == 200
    assert not request_lines(caplog)


def test_an_answer_repeats_the_clients_own_id_if_it_is_decent(colors: TestClient) -> None:
    assert colors.get("/models", headers={"X-Request-ID": "job-7.a_B"}).headers["x-request-id"] == "job-7.a_B"
    others = [colors.get("/models", headers={"X-Request-ID": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 65)]
    assert all(len(identity) == 32 for identity in others) and len(set(others)) == 3


def test_other_lines_of_a_request_carry_its_id_too() -> None:
    record = logging.LogRecord("service", logging.ERROR, "", 0, "out of %s", ("memory",), None)
    token = logs.request_id.set("abc")
    try:
        assert formatted(record).items() >= {"message": "out of memory", "request_id": "abc", "level": "ERROR"}.items()
        assert logs.TextFormatter().format(record).endswith("service: out of memory request_id=abc")
    finally:
        logs.request_id.reset(token)
    assert logs.TextFormatter().format(record).endswith("out of memory")


def test_what_is_logged_while_an_image_is_at_work_carries_the_id_of_its_request(
    colors: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    def noting(job: Job, ticket: Ticket) -> tuple[object, Rendered]:
        ids.append(logs.request_id.get())  # on the worker's thread
        return process(job, ticket)

    monkeypatch.setattr(segment, "process", noting)
    colors.post("/segment", content=encoded(flag()), headers={"X-Request-ID": "job-7"})
    assert ids == ["job-7"]


def test_a_traceback_is_part_of_its_line() -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        record = logging.LogRecord("service", logging.ERROR, "", 0, "failed", (), (type(error), error, error.__traceback__))
    assert "ValueError: bad" in str(formatted(record)["traceback"])
    assert logs.TextFormatter().format(record).splitlines()[-1] == "ValueError: bad"


def test_warnings_of_python_are_lines_of_the_log() -> None:
    program = "import warnings; from service.logs import configure; configure('json'); warnings.warn('beware')"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stderr
    [line] = [json.loads(line) for line in told.splitlines()]
    assert line["level"] == "WARNING" and "UserWarning: beware" in line["message"]


DECODE = """
import io, sys
from PIL import Image
from service import logs
from service.geometry import Photo
if sys.argv[1] == "as the service":
    logs.configure("json")
Photo.of(Image.open(io.BytesIO(sys.stdin.buffer.read())))
"""


def broken_exif() -> bytes:
    """A PNG of whose EXIF every tag is longer than the file."""
    tags = b"".join(struct.pack(">HHII", tag, 2, 1 << 30, 0) for tag in range(100))
    return png((4, 4), before=chunk(b"eXIf", b"MM\0*" + struct.pack(">IH", 8, 100) + tags))


def damaged_fax() -> bytes:
    content = encoded(Image.effect_noise((64, 600), 100).convert("1"), "TIFF", compression="group3")
    return content[:200] + bytes(byte ^ 0x55 for byte in content[200:-300]) + content[-300:]


def many_values() -> bytes:
    """A TIFF that has values for more bands than Pillow reads."""
    return tiff(*SIZE, (277, 3, [4000]), (258, 3, [8] * 4000), data=bytes(16))


@pytest.mark.parametrize(
    ("content", "line"), [(broken_exif(), b"Corrupt EXIF"), (damaged_fax(), b"Bad code word"), (many_values(), b"More samples")]
)
def test_what_is_wrong_with_an_image_is_not_logged(content: bytes, line: bytes) -> None:
    """Pillow and libtiff would write lines, of some files thousands."""
    alone, served = (
        subprocess.run([sys.executable, "-c", DECODE, how], cwd=ROOT, input=content, capture_output=True, check=False).stderr
        for how in ("alone", "as the service")
    )
    assert line in alone and line not in served
