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


def health_check(environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run it as the engine does, outside a container."""
    check = re.search(r"HEALTHCHECK .*\n\s*CMD (.*)", (ROOT / "docker/Dockerfile").read_text())
    assert check is not None
    _, *arguments = json.loads(check[1])
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, timeout=30, check=False
    )


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_sees_the_service_whatever_its_port_and_the_proxy_of_the_host(status: int) -> None:
    class Readyz(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

    proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    with HTTPServer(("127.0.0.1", 0), Readyz) as server:
        server.timeout = 30
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = health_check(proxy | {"SEGMENT_PORT": str(server.server_port)})
        thread.join()
    assert (done.returncode == 0) is (status == 200), done.stderr


def reaches_the_builder(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last line that matches it, or a folder that it is in, decides."""
    admitted = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        if not line.startswith("#") and re.fullmatch(f"{pattern}(/.*)?", path):
            admitted = line.startswith("!")
    return admitted


def test_models_of_others_reach_the_image_with_their_cards_but_no_research_models_or_weights() -> None:
    for path in (
        "models/mine.onnx",
        "models/mine.json",
        "models/others/mine.onnx",
        "models/others/mine.json",
        "service/app.py",
    ):
        assert reaches_the_builder(path), path
    for path in ("models/research/a.onnx", "models/research/b/a.json", "models/a.safetensors", "training/a.py", "runs/a.json"):
        assert not reaches_the_builder(path), path


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "docker/Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
