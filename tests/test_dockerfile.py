"""The Dockerfile as it is written; no engine is needed."""

import subprocess
import sys
from pathlib import Path

from tests.service_process import ROOT


def test_the_image_does_not_look_for_changes_of_its_models() -> None:
    lines = (ROOT / "docker/Dockerfile").read_text().splitlines()
    settings = {line.strip().removesuffix("\\").strip() for line in lines}
    assert {"SEGMENT_RELOAD_S=0", "SEGMENT_LOG_FORMAT=json"} <= settings


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "docker/Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
