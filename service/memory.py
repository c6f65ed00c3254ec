"""How this process keeps memory that it has freed."""

import ctypes
import platform

KEPT_BYTES = 8 << 20  # what a heap may keep at its end
MAPPED_BYTES = 4 << 20  # blocks from this size on are mapped one by one, and so given back one by one
ARENAS = 2  # glibc's default is one for each thread


def return_freed_memory() -> None:
    """Tell glibc to give freed memory back to the system, and to use few arenas.

    By default it keeps what it has once got for larger and larger blocks, in an arena for each thread: after images of
    many sizes the process would hold more than any of them needed. Call it before threads start. No effect without glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_threshold, m_arena_max = -1, -3, -8  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(m_trim_threshold, KEPT_BYTES)
        libc.mallopt(m_mmap_threshold, MAPPED_BYTES)
        libc.mallopt(m_arena_max, ARENAS)
