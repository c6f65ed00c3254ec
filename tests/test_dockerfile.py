"""The Dockerfile as it is written; no engine is needed."""

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.service_process import ROOT


def test_the_image_does_not_look_for_changes_of_its_models() -> None:
    lines = (ROOT / "docker/Dockerfile").read_text().splitlines()
    settings = {line.strip().removesuffix("\\").strip() for line in lines}
    assert {"SEGMENT_RELOAD_S=0", "SEGMENT_LOG_FORMAT=json"} <= settings


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_sees_the_service_whatever_proxy_the_host_has(status: int) -> None:
    class Readyz(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

    check = re.search(r"HEALTHCHECK .*\n\s*CMD (.*)", (ROOT / "docker/Dockerfile").read_text())
    assert check is not None
    with HTTPServer(("127.0.0.1", 0), Readyz) as server:
        _, *arguments = json.loads(check[1].replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}"))
        threading.Thread(target=server.handle_request).start()
        proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        done = subprocess.run(
            [sys.executable, *arguments], env=os.environ | proxy, capture_output=True, timeout=30, check=False
        )
    assert (done.returncode == 0) is (status == 200), done.stderr


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "docker/Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
