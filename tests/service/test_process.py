"""Limits of the process."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from service import process


@pytest.mark.parametrize(("library", "asked"), [("glibc", {-1: 8 << 20, -3: 2 << 20, -8: 2}), ("", {})])
def test_glibc_is_asked_to_give_freed_memory_back_and_no_other_library_is(
    library: str, asked: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[int, int] = {}
    monkeypatch.setattr("platform.libc_ver", lambda: (library, ""))
    monkeypatch.setattr(process, "ctypes", SimpleNamespace(CDLL=lambda _: SimpleNamespace(mallopt=options.__setitem__)))
    process.return_freed_memory()
    assert options == asked


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_cores_are_those_of_the_containers_quota(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(process, "CGROUPS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert process.usable_cpus() == cores
