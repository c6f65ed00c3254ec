"""HEAD, as monitors ask it."""

from http.client import HTTPConnection
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.helpers.live import colors_app, serving

PATHS = {"/livez": 200, "/": 200, "/docs": 200, "/models/colors": 200, "/static/app.js": 200, "/nothing": 404, "/segment": 405}


def test_it_is_answered_as_get_without_the_body(colors_folder: Path) -> None:
    with serving(colors_app(colors_folder)) as address:
        line = HTTPConnection(*address, timeout=30)
        for path, status in PATHS.items():
            line.request("GET", path)
            got = line.getresponse()
            length = len(got.read())
            line.request("HEAD", path)
            asked = line.getresponse()  # of the same connection: bytes of a body would be taken for the next answer
            assert (asked.status, asked.read()) == (got.status, b"") == (status, b"")
            assert int(asked.headers["content-length"]) == length
            assert asked.headers["content-type"] == got.headers["content-type"]
        line.close()


def test_it_is_counted_and_logged_as_what_it_is(colors: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        colors.head("/models/colors")
    fields = next(record.__dict__["fields"] for record in caplog.records if record.msg == "request")
    assert (fields["method"], fields["route"], fields["status"]) == ("HEAD", "/models/{name}", 200)
