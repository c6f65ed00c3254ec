"""Imports go one way: HTTP, results, inference, imaging, ground; and training sees the ground alone. No file is long."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_process import ROOT

GROUND = ("contract", "geometry", "logs", "process", "metrics", "settings")
LAYERS = (
    "service.imaging",
    "service.inference.files",
    "service.inference.sessions",
    "service.inference.scores",
    "service.inference.tiling",
    "service.inference.models",
    "service.inference.scheduling",
    "service.results",
    "service.pipeline",
    "service.http",
    "service.app",
    "service.server",
    "service.__main__",
)


def sources(folder: str) -> list[Path]:
    """The files of a package: there are some."""
    found = sorted((ROOT / folder).rglob("*.py"))
    assert len(found) > 1
    return found


SOURCES = sources("service")


def imports_of(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(path: Path) -> str:
    """Dotted name of a file's module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> int:
    """How high a module of the service stands: 0 is the ground."""
    for level, layer in enumerate(LAYERS, 1):
        if module == layer or module.startswith(layer + "."):
            return level
    assert module.split(".")[1] in GROUND, f"{module} belongs to no layer"
    return 0


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "__init__.py" or imports_of(path)], ids=name_of)
def test_a_module_imports_nothing_from_above_it(path: Path) -> None:
    own = layer_of(name_of(path))
    for name in imports_of(path):
        if name.startswith("service."):
            assert layer_of(name) <= own, f"{name_of(path)} imports {name}"


def test_training_sees_only_the_contract_geometry_and_metrics_of_the_service() -> None:
    allowed = ("service.contract.", "service.geometry.", "service.metrics.")
    for path in sources("training"):
        for name in imports_of(path):
            assert not name.startswith("service") or name.startswith(allowed), f"{name_of(path)} imports {name}"


def test_the_service_never_imports_torch_or_training() -> None:
    for path in SOURCES:
        assert not {name.split(".")[0] for name in imports_of(path)} & {"torch", "training", "onnx", "matplotlib", "tests"}


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    program = f"import sys, json; {statement}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(ended.stdout))


@pytest.mark.parametrize("module", GROUND)
def test_the_ground_needs_no_server_and_no_runtime(module: str) -> None:
    assert not loaded_after(f"import service.{module}") & {
        "fastapi",
        "starlette",
        "onnxruntime",
        "uvicorn",
        "torch",
        "training",
    }


def test_the_whole_service_runs_without_torch() -> None:
    loaded = loaded_after("import service.app, service.__main__; from service.settings import Settings")
    assert {"fastapi", "onnxruntime"} <= loaded
    assert not loaded & {"torch", "training", "onnx", "matplotlib", "cv2", "skimage", "scipy"}


def test_imports_have_no_side_effects_to_speak_of(tmp_path: Path) -> None:
    program = "import threading, service.app; assert threading.active_count() == 1; assert not __import__('os').listdir('.')"
    environment = {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1", "HOME": str(tmp_path.parent)}
    command = [sys.executable, "-B", "-c", program]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("folder", ["service", "training", "tests"])
def test_no_file_is_longer_than_300_lines(folder: str) -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in sources(folder)}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}
