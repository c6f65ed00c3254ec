"""Limits of the process."""

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
