"""Free memory is the least that machine, container and limits leave."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from training.memory.free import free_memory, host_memory

GIGABYTE = 2**30


def system(root: Path, cgroup: str = "") -> Path:
    """The files of a machine with 8 GiB available, of a process that has 60 GiB of addresses."""
    process = root / "proc/self"
    process.mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\nHugePages_Total: 0\n")
    (process / "status").write_text(f"Name:\tpython of mine\nVmSize:\t{60 * 2**20} kB\nVmData:\t{50 * 2**20} kB\n")
    (process / "cgroup").write_text(cgroup)
    return root


def group(folder: Path, limit: str, usage: str, most: int | str, used: int, idle: dict[str, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text(f"{most}\n")
    (folder / usage).write_text(f"{used}\n")
    (folder / "memory.stat").write_text("".join(f"{name} {value}\n" for name, value in idle.items()))


@pytest.fixture
def address_space() -> Iterator[None]:
    """A limit of 64 GiB on this process's addresses."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (64 * GIGABYTE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_without_limits_it_is_what_the_machine_has_available(tmp_path: Path) -> None:
    assert host_memory(system(tmp_path)) == 8 * GIGABYTE


def test_a_container_of_version_2_leaves_its_limit_less_what_is_used_and_not_cache(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/pod/train\n")
    group(root / "sys/fs/cgroup/pod", "memory.max", "memory.current", 4 * GIGABYTE, 2 * GIGABYTE, {"inactive_file": GIGABYTE})
    group(root / "sys/fs/cgroup/pod/train", "memory.max", "memory.current", "max", GIGABYTE, {"inactive_file": 0})
    assert host_memory(root) == 3 * GIGABYTE


def test_a_container_of_version_1_is_seen_from_within(tmp_path: Path) -> None:
    root = system(tmp_path, "9:cpu:/docker/0123\n4:hugetlb,memory:/docker/0123\n0::/\n")
    files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(root / "sys/fs/cgroup/memory", *files, 2 * GIGABYTE, GIGABYTE, {"total_inactive_file": 5})
    assert host_memory(root) == GIGABYTE + 5


def test_no_limit_of_version_1_is_none(tmp_path: Path) -> None:
    root = system(tmp_path, "4:memory:/a\n")
    files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(root / "sys/fs/cgroup/memory/a", *files, 2**63 - 4096, GIGABYTE, {"total_inactive_file": 0})
    assert host_memory(root) == 8 * GIGABYTE


@pytest.mark.usefixtures("address_space")
def test_a_limit_of_the_process_leaves_what_it_has_not_taken(tmp_path: Path) -> None:
    assert host_memory(system(tmp_path)) == 4 * GIGABYTE


def test_without_proc_it_is_all_of_the_machine(tmp_path: Path) -> None:
    assert host_memory(tmp_path) > GIGABYTE


def test_processes_of_one_machine_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = free_memory(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory(torch.device("cpu")) == pytest.approx(alone / 4, rel=0.2)
