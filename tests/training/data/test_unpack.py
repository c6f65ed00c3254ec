"""Archives that mean well, and others."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from training.data.unpack import unpack
from training.errors import InputError

FILES = {"top/set/a.txt": b"a" * 1000, "top/set/deep/b.txt": b"b", "top/other/c.txt": b"c", "d.txt": b"d"}


def entry(name: str, size: int = 0, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def write_tar(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            tar.addfile(entry(name, len(content), mode=0o4755), io.BytesIO(content))
        for other in others:
            tar.addfile(other)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def unpacked(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["tar", "tgz", "zip"])
def test_only_what_is_wanted_comes_out_without_the_leading_folders(tmp_path: Path, form: str) -> None:
    path = tmp_path / "archive"
    archive = write_zip(path, FILES) if form == "zip" else write_tar(path, FILES, mode="w:gz" if form == "tgz" else "w")
    assert unpack(archive, tmp_path / "out", ("top/set", "top/other/c.txt"), 1, 10_000) == 3
    assert unpacked(tmp_path / "out") == {"set/a.txt": b"a" * 1000, "set/deep/b.txt": b"b", "other/c.txt": b"c"}


def test_a_folders_name_is_no_prefix_of_a_longer_one(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "archive", {"set/a": b"1", "settings/b": b"2"})
    assert unpack(archive, tmp_path / "out", ("set",), 1, 100) == 1
    assert unpacked(tmp_path / "out") == {"a": b"1"}


def test_links_devices_and_permissions_stay_in_the_archive(tmp_path: Path) -> None:
    links = [entry(f"top/{kind!r}", type=kind, linkname="/etc/passwd") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]
    archive = write_tar(tmp_path / "archive", FILES, *links, entry("top/pipe", type=tarfile.FIFOTYPE))
    unpack(archive, tmp_path / "out", ("top",), 1, 10_000)
    assert sorted(unpacked(tmp_path / "out")) == ["other/c.txt", "set/a.txt", "set/deep/b.txt"]
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert (tmp_path / "out/set/a.txt").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("name", ["top/../../evil", "top/..\\evil", "top/C:\\evil", "top/c:evil"])
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, form: str, name: str) -> None:
    archive = (write_zip if form == "zip" else write_tar)(tmp_path / "archive", {name: b"evil"})
    with pytest.raises(InputError, match="leads out of it"):
        unpack(archive, tmp_path / "deep/out", ("top",), 1, 10_000)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["archive"]


@pytest.mark.parametrize("form", ["tgz", "zip"])
def test_an_archive_that_grows_beyond_what_was_announced_is_refused(tmp_path: Path, form: str) -> None:
    files = {"top/bomb": bytes(50 << 20)}
    path = tmp_path / "archive"
    archive = write_zip(path, files) if form == "zip" else write_tar(path, files, mode="w:gz")
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(InputError, match="unpacks to more than 3000000 bytes"):
        unpack(archive, tmp_path / "out", ("top",), 1, 3_000_000)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) <= 3_000_000


@pytest.mark.parametrize("form", ["tar", "tgz", "zip"])
def test_a_damaged_archive_is_an_error_that_names_it(tmp_path: Path, form: str) -> None:
    path = tmp_path / "archive"
    archive = write_zip(path, FILES) if form == "zip" else write_tar(path, FILES, mode="w:gz" if form == "tgz" else "w")
    content = archive.read_bytes()
    for cut in (content[: len(content) // 3], content[:60] + b"?" * 40 + content[100:], b""):
        archive.write_bytes(cut)
        with pytest.raises(InputError, match=r"archive (is damaged|holds none)"):
            unpack(archive, tmp_path / "out", ("top/set/deep",), 1, 10_000)


def test_an_archive_of_something_else_is_an_error(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "archive", FILES)
    with pytest.raises(InputError, match="holds none of VOCdevkit"):
        unpack(archive, tmp_path / "out", ("VOCdevkit",), 1, 10_000)
