"""CVAT's export "Segmentation mask 1.1" of made-up pictures, extracted and as a zip."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\noak tree:250,50,83::\nroof:51,221,255::\n"
COLORS = np.array([[0, 0, 0], [250, 50, 83], [51, 221, 255]], np.uint8)


def write_export(folder: Path, subsets: dict[str, list[str]], labelmap: str = LABELMAP) -> Path:
    """An extracted export whose images are all labelled; returns `folder`."""
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "labelmap.txt").write_text(labelmap)
    for index, (subset, stems) in enumerate(subsets.items()):
        (folder / f"ImageSets/Segmentation/{subset}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        for number, stem in enumerate(stems):
            for kind in ("JPEGImages", "SegmentationClass", "SegmentationObject"):
                (folder / kind / stem).parent.mkdir(parents=True, exist_ok=True)
            labels = (np.arange(6).reshape(2, 3) + number) % 3
            photo = Image.new("RGB", (3, 2), (number, 90, 30 * index))
            photo.save(folder / "JPEGImages" / f"{stem}{('.jpg', '.PNG')[number % 2]}")
            Image.fromarray(COLORS[labels]).save(folder / "SegmentationClass" / f"{stem}.png")
            Image.fromarray(COLORS[labels]).save(folder / "SegmentationObject" / f"{stem}.png")
    return folder


def zipped(folder: Path) -> Path:
    """The same export as CVAT hands it out."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(folder.rglob("*")):
            file.write(member, member.relative_to(folder))
    return path
