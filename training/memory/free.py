"""Finds how much memory a device still has for this process."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import torch

UNLIMITED = 2**60  # bytes; cgroup v1 writes a larger number for no limit


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on `device`; processes that torchrun started share the CPU's memory evenly."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return host_memory(Path("/")) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def host_memory(root: Path) -> int:
    """The least of the bytes that the machine, the container (cgroups) and this process's limits leave.

    `root` is the root of the file system. Without Linux's /proc, returns all of the machine's memory.
    """
    process = root / "proc/self"
    if not process.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    machine = _table(root / "proc/meminfo")["MemAvailable"]
    return max(0, min([machine, *_cgroups(root), *_limits(_table(process / "status"))]))


def _table(path: Path) -> dict[str, int]:
    """Lines like "VmSize:  123 kB" as bytes by name; other lines are left out."""
    words = [line.split() for line in path.read_text().splitlines()]
    return {name.rstrip(":"): int(value) * 1024 for name, value, *unit in (w for w in words if len(w) == 3) if unit == ["kB"]}


def _limits(status: dict[str, int]) -> Iterator[int]:
    """Bytes that `ulimit -v` and `ulimit -d` leave."""
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - status[used]


def _cgroups(root: Path) -> Iterator[int]:
    """Bytes that each cgroup (version 1 or 2) around this process leaves; inactive page cache counts as free."""
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        number, controllers, name = line.split(":", 2)
        if number == "0":
            folder, limit, usage, idle = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            folder, limit, usage = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            idle = "total_inactive_file"
        else:
            continue
        # In a container, the name may be the one outside the container: then only the top group is visible.
        for group in (Path(name), *Path(name).parents):
            where = root / folder / group.relative_to("/")
            if (where / limit).exists() and (most := (where / limit).read_text().strip()) != "max" and int(most) < UNLIMITED:
                counts = dict(entry.split() for entry in (where / "memory.stat").read_text().splitlines())
                yield int(most) - int((where / usage).read_text()) + int(counts[idle])
