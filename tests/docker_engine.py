"""The engine that the container's tests use: one that a script starts beside other tests, or the machine's own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docker_client import answers

SCRIPT = os.environ.get("DOCKER_ENGINE")  # starts a throw-away engine: `up`, `env`, `down`
UP_S = 600  # longest start


@dataclass(frozen=True)
class Engine:
    """An engine that may still be starting."""

    environment: dict[str, str]  # of the docker client
    starting: subprocess.Popen[bytes] | None
    log: Path  # of its start

    def wait(self) -> None:
        """Return when the engine runs, if it was started here."""
        if self.starting is not None:
            assert self.starting.wait(UP_S) == 0, self.log.read_text()


@contextmanager
def started_engine(log: Path) -> Iterator[Engine]:
    """Start the engine, unless there is no script for it or it runs; what is started here is stopped afterwards."""
    if SCRIPT is None:
        yield Engine(dict(os.environ), None, log)
        return
    exports = subprocess.run(
        ["bash", "-c", 'eval "$("$0" env)"; env -0', SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    environment = dict(entry.split("=", 1) for entry in exports.stdout.split("\0") if entry)
    if answers(environment, "info"):
        yield Engine(environment, None, log)
        return
    with log.open("wb") as file:
        starting = subprocess.Popen([SCRIPT, "up"], stdout=file, stderr=file)
    try:
        yield Engine(environment, starting, log)
    finally:
        starting.wait(UP_S)  # not killed: it may be installing packages
        subprocess.run([SCRIPT, "down", "all"], timeout=120, check=True)
