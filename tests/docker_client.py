"""The docker client, and the service's container as it sees it."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PORT = 8000  # in the container


@dataclass(frozen=True)
class Docker:
    """The docker client, run in a folder with an environment."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, timeout: float = 60) -> str:
        """`docker ARGUMENTS`; its output. Fails with everything it said."""
        done = self.attempt(*arguments, timeout=timeout)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def attempt(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`docker ARGUMENTS`, which may fail."""
        command = ["docker", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )


def answers(environment: Mapping[str, str], *arguments: str) -> bool:
    """Whether docker is there and this command of it works."""
    docker = shutil.which("docker", path=environment["PATH"])
    command = [docker or "false", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False).returncode == 0


@dataclass(frozen=True)
class Container:
    """The running service."""

    docker: Docker
    id: str
    url: str  # of the published port

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of it."""
        [facts] = json.loads(self.docker.run("inspect", self.id))
        return dict(facts)

    def python(self, code: str) -> str:
        """What a line of Python prints inside."""
        return self.docker.run("exec", self.id, "python", "-c", code)
