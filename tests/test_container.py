"""The container, from outside: a real engine runs `docker compose up`, and the service inside is asked and watched.

DOCKER_ENGINE names a script that starts a throw-away engine (`up`, `env`, `down`); without it, the machine's own is used.
"""

import http.client
import io
import json
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.docker_client import PORT, Container, Docker, answers
from tests.docker_engine import Engine
from tests.photos import photo
from tests.service.helpers.foreign_models import CRASH, crashing, foreign_model, write_foreign
from tests.service_process import ROOT

GPU = ("-f", "docker-compose.yml", "-f", "docker/compose.gpu.yml")
IMAGE_BYTES = 450_000_000  # unpacked
GRACE_S = 75  # stop_grace_period


pytestmark = pytest.mark.timeout(1500)  # the first test waits for the engine and the build


@pytest.fixture(scope="module")
def docker(engine: Engine | None) -> Docker:
    """A client that knows compose; with DOCKER_ENGINE, also an engine."""
    assert engine is not None  # a test asks for this fixture
    engine.wait()
    if not answers(engine.environment, "compose", "version"):
        pytest.skip("needs docker compose, or DOCKER_ENGINE: a script that starts an engine")
    # A free port instead of 8000, which may be in use here.
    return Docker(ROOT, engine.environment | {"COMPOSE_PROJECT_NAME": "fcn-service-test", "SEGMENT_PUBLISH": "127.0.0.1:"})


@pytest.fixture(scope="module")
def container(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """`docker compose up` in a copy of this folder, with own models mounted, and files that must stay outside the image."""
    if not answers(docker.environment, "info"):
        pytest.skip("needs a running Docker engine, or DOCKER_ENGINE: a script that starts one")
    folder = tmp_path_factory.mktemp("clone") / "fcn-service"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*cache", ".git", ".venv*", "__pycache__", "runs"))
    for outsider in ("models/research/forbidden.onnx", "models/animals.safetensors", "service/__pycache__/stale.pyc"):
        (folder / outsider).parent.mkdir(exist_ok=True)
        (folder / outsider).write_bytes(b"must not be in the image")
    write_foreign(folder / "models", foreign_model(), file="built-in", name="built-in")
    mine = folder / "mine"
    mine.mkdir()
    write_foreign(mine, foreign_model())
    write_foreign(mine, crashing(foreign_model()), file="crashing")
    mount = {"services": {"segment": {"volumes": ["./mine:/app/models/mine:ro"]}}}
    (folder / "docker-compose.override.yml").write_text(json.dumps(mount))
    docker = Docker(folder, docker.environment)
    try:
        docker.run("compose", "up", "--detach", "--wait", timeout=800)
        address = docker.run("compose", "port", "segment", str(PORT))
        yield Container(docker, docker.run("compose", "ps", "--quiet", "segment"), f"http://{address}")
    finally:
        docker.run("compose", "down", "--timeout", "5", timeout=120)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _noise_png() -> bytes:
    """A 20 MB image: noise does not compress."""
    pixels = np.random.default_rng(0).integers(0, 256, (2600, 2600, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def test_a_photo_posted_from_outside_is_answered_at_its_own_size(container: Container) -> None:
    image = photo("chelsea.png")
    answer = httpx.post(container.url + "/segment", files={"file": _jpeg(image)}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["image"]["width"], answer.json()["image"]["height"]) == image.size
    assert sum(entry["pixels"] for entry in answer.json()["classes"]) == image.width * image.height
    mask = httpx.post(container.url + "/segment?format=mask", files={"file": _jpeg(image)}, timeout=60)
    assert Image.open(io.BytesIO(mask.content)).size == image.size


def test_the_page_is_there(container: Container) -> None:
    page = httpx.get(container.url + "/", timeout=30)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


def test_own_models_are_served_and_one_that_would_end_the_service_is_left_out(container: Container) -> None:
    models = httpx.get(container.url + "/models", timeout=30).json()
    assert {"built-in", "foreign"} <= {model["name"] for model in models["models"]}
    assert models["broken"] == [{"file": "mine/crashing.onnx", "reason": CRASH}]


def test_a_20_mb_upload_goes_through_the_tmpfs_and_leaves_nothing(container: Container) -> None:
    upload = _noise_png()
    assert len(upload) > 20_000_000
    answer = httpx.post(container.url + "/segment?format=mask", files={"file": upload}, timeout=120)
    assert answer.status_code == 200, answer.text
    assert Image.open(io.BytesIO(answer.content)).size == (2600, 2600)
    assert container.python("import os; print(os.listdir('/tmp'))") == "[]"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_more_than_32_mib_is_refused(container: Container, chunked: bool) -> None:
    body = bytes(32 * 2**20 + 1)
    content = (body[at : at + 2**20] for at in range(0, len(body), 2**20)) if chunked else body
    answer = httpx.post(container.url + "/segment", content=content, headers={"Content-Type": "image/png"}, timeout=120)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_it_becomes_healthy_and_stays_within_limits(container: Container) -> None:
    assert container.inspect()["State"]["Health"]["Status"] == "healthy"
    limits = container.inspect()["HostConfig"]
    assert limits["Memory"] == 4 * 2**30
    assert limits["CpuQuota"] == 2 * limits["CpuPeriod"]
    assert limits["PidsLimit"] == 2048


def test_process_1_is_the_service_without_root_or_capabilities(container: Container) -> None:
    assert container.inspect()["Config"]["User"] == "10001:10001"
    status = container.python("print(open('/proc/1/status').read())")
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert facts["Uid"].split() == facts["Gid"].split() == ["10001"] * 4
    assert {int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert facts["NoNewPrivs"] == "1"
    command = container.python("print(open('/proc/1/cmdline').read().split('\\0'))")
    assert command == str(["python", "-m", "service", ""])


@pytest.mark.parametrize("folder", ["/app", "/venv", "/app/models", "/var/tmp", "/"])
def test_the_root_is_read_only_even_to_root(container: Container, folder: str) -> None:
    write = container.docker.attempt("exec", "--user", "0", container.id, "touch", f"{folder}/file")
    assert write.returncode != 0
    assert "Read-only file system" in write.stderr


def test_telemetry_is_off(container: Container) -> None:
    assert container.python("import os; print(os.environ['ORT_DISABLE_TELEMETRY'])") == "1"


def test_only_what_serves_is_in_the_image_and_it_is_small(container: Container) -> None:
    command = ["docker", "export", container.id]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, env=container.docker.environment) as export,
        tarfile.open(fileobj=export.stdout, mode="r|") as files,
    ):
        sizes = {member.name: member.size for member in files}
    print(f"the image: {sum(sizes.values()) / 1e6:.0f} MB unpacked")
    assert sum(sizes.values()) <= IMAGE_BYTES
    ours = [Path(name) for name in sizes if name.startswith("app/")]
    assert {path.parts[1] for path in ours if len(path.parts) > 1} == {"LICENSE", "models", "service"}
    assert not [path for path in ours if "research" in path.parts or path.suffix in {".pyc", ".safetensors"}]
    assert not [path for path in ours if path.name.endswith(".fp16.onnx")]  # for GPUs
    packages = {Path(name).name for name in sizes if Path(name).parent.name == "site-packages"}
    assert "onnxruntime" in packages
    assert not packages & {"torch", "training", "pip", "setuptools", "pytest"}


@dataclass
class Client:
    """Posts one body again and again, until the service accepts no more connections."""

    host: str
    body: bytes
    reuse: bool  # keep a connection for many requests, as long as the service allows
    answers: list[tuple[int, float]] = field(default_factory=list)  # (status, time)
    lost: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Ends when a connection is refused, or one that was accepted brings no whole answer."""
        connection = None
        while True:
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(self.host, PORT, timeout=60)
                    connection.connect()
            except OSError:
                return
            try:
                connection.request("POST", "/segment", self.body, {"Content-Type": "application/octet-stream"})
                response = connection.getresponse()
                areas = json.loads(response.read())["classes"]
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.lost.append(repr(error))
                return
            self.answers.append((response.status if areas else 0, time.monotonic()))
            if response.will_close or not self.reuse:
                connection.close()
                connection = None


def test_stopping_it_under_load_loses_no_accepted_request(container: Container) -> None:
    # Not through the published port: the engine's proxy there accepts connections even where the service does not.
    [network] = container.inspect()["NetworkSettings"]["Networks"].values()
    small, large = _jpeg(photo("chelsea.png").resize((64, 48))), _noise_png()
    clients = [Client(network["IPAddress"], small, reuse=index % 3 == 0) for index in range(12)]
    clients.append(Client(network["IPAddress"], large, reuse=False))
    threads = [threading.Thread(target=client.run) for client in clients]
    try:
        for thread in threads:
            thread.start()
        time.sleep(3)
        stopped = time.monotonic()
        container.docker.run("compose", "stop", timeout=GRACE_S + 30)
        took = time.monotonic() - stopped
        for thread in threads:
            thread.join(90)
        state = container.inspect()["State"]
    finally:
        container.docker.run("compose", "up", "--detach", "--wait", timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert [client.lost for client in clients if client.lost] == []
    answers = [answer for client in clients for answer in client.answers]
    assert {status for status, _ in answers} == {200}
    assert any(at > stopped for _, at in answers), "no request was in work when it was stopped"
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    assert took < GRACE_S


def test_compose_up_means_the_cpu_on_loopback_port_8000(docker: Docker) -> None:
    service = _service(docker)
    [port] = service["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8000", PORT)
    assert service["build"]["target"] == "cpu"


def test_the_gpu_file_selects_the_gpu_target_and_reserves_the_device(docker: Docker) -> None:
    service = _service(docker, *GPU)
    assert service["build"]["target"] == "gpu"
    assert service["environment"]["SEGMENT_DEVICE"] == "cuda"
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert service["read_only"] and service["cap_drop"] == ["ALL"]


def _service(docker: Docker, *files: str) -> dict[str, Any]:
    """What compose makes of its files, with nothing set in the environment."""
    plain = {name: value for name, value in docker.environment.items() if not name.startswith("SEGMENT_")}
    config = Docker(docker.folder, plain).run("compose", *files, "config", "--format", "json")
    return dict(json.loads(config)["services"]["segment"])
