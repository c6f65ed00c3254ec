"""Limits of this process: the cores that it may use, how much freed memory it keeps, and how many files it may open."""

import ctypes
import os
import platform
import resource
from contextlib import suppress
from pathlib import Path

KEPT_BYTES = 8 << 20  # free memory that a heap may keep at its top
# Blocks of this size and larger are mapped individually, and so returned individually. Above 2 MB, the heap creeps for longer
# (tests/benchmarks/bench_memory.py); with 1 MB, an image of 1280x960 takes a quarter longer.
MAPPED_BYTES = 2 << 20
FILES = 65_536  # more open files than all connections, uploads and model files need
MALLOC_ARENAS = 2  # glibc's default allows one for each thread, up to eight for each core
CGROUPS = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """Cores this process may use: its affinity mask, and the container's CPU quota (cgroup v2 or v1) where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _quota(CGROUPS)
    return cores if quota <= 0 else max(1, min(cores, quota // period))


def _quota(cgroups: Path) -> tuple[int, int]:
    """(quota, period) in microseconds: the processor time allowed in each period; a quota of 0 or less means no limit."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((cgroups / file).read_text() for file in files).split()
            return (0 if quota == "max" else int(quota)), int(period)
        except (OSError, ValueError):
            continue
    return 0, 1


def return_freed_memory() -> None:
    """Tell glibc to give freed memory back to the system, and to use few arenas.

    By default, glibc keeps freed blocks of ever larger sizes for reuse, in one arena for each thread: after images of many
    sizes the process would hold more memory than any one of them needed. Call this before threads start. It has no effect
    without glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_threshold, m_arena_max = -1, -3, -8  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(m_trim_threshold, KEPT_BYTES)
        libc.mallopt(m_mmap_threshold, MAPPED_BYTES)
        libc.mallopt(m_arena_max, MALLOC_ARENAS)


def raise_file_limit() -> None:
    """Raise this process's limit of open files, up to FILES: for each connection, spooled upload and model file."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    with suppress(ValueError, OSError):  # macOS refuses values above a limit that it does not report
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))
