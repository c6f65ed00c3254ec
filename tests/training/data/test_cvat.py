"""CVAT's export "Segmentation mask 1.1", as a zip and extracted."""

import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.cvat_export import LABELMAP, write_export, zipped
from training.data.check import check
from training.data.cvat import MAX_MEMBER_BYTES, cvat_classes, cvat_reader
from training.data.find import find_dataset
from training.data.reader import MissingSplit, Reader, read_pair
from training.errors import InputError


def readers(export: Path) -> tuple[Reader, Reader]:
    dataset = find_dataset("cvat", export)
    return dataset.train(export), dataset.evaluation(export, "val")


def test_a_zip_and_its_folder_are_the_same_data(tmp_path: Path) -> None:
    stems = ["b c", "sub/a", *(f"{number:03}" for number in range(10))]
    folder = write_export(tmp_path / "task", {"default": stems})
    seen = []
    for export in (folder, zipped(folder)):
        pairs = {stem: read_pair(reader, stem) for reader in readers(export) for stem in reader.stems()}
        seen.append({stem: (image.getpixel((0, 0)), labels.tolist()) for stem, (image, labels) in pairs.items()})
        assert sorted(pairs) == sorted(stems)
        assert [reader.stems() for reader in readers(export)] == [reader.stems() for reader in readers(folder)]
    assert seen[0] == seen[1]
    assert seen[0]["b c"][1] == [[0, 1, 2], [0, 1, 2]]
    assert seen[0]["sub/a"][1] == [[1, 2, 0], [1, 2, 0]]


def test_labels_are_classes_in_the_order_and_colours_of_the_labelmap(tmp_path: Path) -> None:
    dataset = find_dataset("cvat", zipped(write_export(tmp_path / "task", {"default": ["a", "b"]})))
    assert [(entry.name, entry.color) for entry in dataset.classes] == [
        ("background", "#000000"),
        ("oak tree", "#fa3253"),
        ("roof", "#33ddff"),
    ]
    assert dataset.description == "exported from CVAT, task.zip"


def test_a_label_called_void_counts_for_nothing(tmp_path: Path) -> None:
    labelmap = LABELMAP.replace("oak tree", "void")
    export = write_export(tmp_path / "task", {"default": ["a", "b"]}, labelmap)
    dataset = find_dataset("cvat", export)
    assert [entry.name for entry in dataset.classes] == ["background", "roof"]
    seen = {value for reader in readers(export) for stem in reader.stems() for value in np.unique(reader.labels(stem)).tolist()}
    assert seen == {0, 1, 255}


def test_a_reader_goes_to_other_processes_and_reads_the_same_there(tmp_path: Path) -> None:
    export = zipped(write_export(tmp_path / "task", {"default": ["a", "b", "c", "d"]}))
    reader = readers(export)[0]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        seen = list(pool.map(reader.labels, reader.stems() * 4))
    assert [labels.tolist() for labels in seen] == [reader.labels(stem).tolist() for stem in reader.stems()] * 4


def test_subsets_are_splits(tmp_path: Path) -> None:
    export = write_export(tmp_path / "task", {"Train": ["a"], "default": ["b"], "Validation": ["c"], "test": ["d"]})
    train, val = readers(export)
    assert (train.stems(), val.stems()) == (["a", "b"], ["c"])
    classes = cvat_classes(export)
    assert cvat_reader(export, "test", classes).stems() == ["d"]
    (export / "ImageSets/Segmentation/test.txt").unlink()
    with pytest.raises(MissingSplit, match="no subset for split 'test': there are train, val"):
        cvat_reader(export, "test", classes)


def test_images_without_annotations_are_left_out_and_counted(tmp_path: Path) -> None:
    export = write_export(tmp_path / "task", {"default": ["a", "b", "c"]})
    (export / "SegmentationClass/b.png").unlink()
    train, val = readers(export)
    assert sorted(train.stems() + val.stems()) == ["a", "c"]
    assert find_dataset("cvat", export).description.endswith("1 image without labels left out")
    for stem in ("a", "c"):
        (export / f"SegmentationClass/{stem}.png").unlink()
    with pytest.raises(InputError, match="holds no labelled image"):
        readers(export)


def test_a_test_subset_that_is_not_labelled_yet_is_a_missing_split(tmp_path: Path) -> None:
    export = write_export(tmp_path / "task", {"default": ["a", "b"], "valid": ["c"], "test": ["d"]})
    (export / "SegmentationClass/d.png").unlink()
    with pytest.raises(MissingSplit, match="holds no labelled image for split 'test'"):
        find_dataset("cvat", export).evaluation(export, "test")
    assert check(find_dataset("cvat", export), export).errors == ()
    (export / "SegmentationClass/c.png").unlink()
    assert "no labelled image for split 'val'" in check(find_dataset("cvat", export), export).errors[0]


def test_an_export_without_images_says_how_to_export_again(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "task", {"default": ["a", "b", "c", "d"]})
    for photo in (folder / "JPEGImages").iterdir():
        photo.unlink()
    with pytest.raises(InputError, match=r'lacks the photo of . and [01] more: export with "Save images"'):
        readers(zipped(folder))


def test_a_photo_in_a_format_that_is_not_read_is_told_by_its_name(tmp_path: Path) -> None:
    export = write_export(tmp_path / "task", {"default": ["a", "b"]})
    (export / "JPEGImages/a.jpg").rename(export / "JPEGImages/a.bmp")
    with pytest.raises(InputError, match=r"a\.bmp is in a format that is not read"):
        readers(export)


def test_two_photos_of_one_name_are_no_guess(tmp_path: Path) -> None:
    export = write_export(tmp_path / "task", {"default": ["a", "b"]})
    Image.new("RGB", (3, 2)).save(export / "JPEGImages/a.png")
    with pytest.raises(InputError, match=r"a\.jpg and JPEGImages/a\.png: which one counts"):
        readers(export)


def test_the_values_of_a_grey_mask_are_places_in_the_labelmap(tmp_path: Path) -> None:
    export = write_export(tmp_path / "task", {"default": ["a", "b"]}, LABELMAP.replace("oak tree", "void"))
    for stem in ("a", "b"):
        Image.fromarray(np.array([[0, 1, 2]] * 2, np.uint8)).save(export / f"SegmentationClass/{stem}.png")
    train, _ = readers(export)
    [stem, *_] = train.stems()
    assert train.labels(stem).tolist() == [[0, 255, 1]] * 2


def test_a_colour_outside_the_labelmap_is_an_error_that_names_the_member(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "task", {"default": ["a", "b"]})
    for stem in ("a", "b"):
        Image.new("RGB", (3, 2), "#123456").save(folder / f"SegmentationClass/{stem}.png")
    export = zipped(folder)
    reader = readers(export)[0]
    with pytest.raises(InputError, match=r"task\.zip/SegmentationClass/.\.png .*: #123456 \(6 pixels\)"):
        reader.labels(reader.stems()[0])


@pytest.mark.parametrize(
    ("labelmap", "message"),
    [
        ("background:0,0,0::\ncat:1,2::\n", "labelmap.txt, line 2: expected name:red,green,blue"),
        ("background:0,0,256::\n", "line 1: expected"),
        ("background\n", "line 1: expected"),
        ("background:0,0,0::\n:255,0,0::\n", "line 2: expected"),
        ("a:0,0,0::\nb:0,0,0::\n", "the colour #000000 appears twice"),
        ("# nothing\n", "lists 0 classes"),
    ],
)
def test_a_labelmap_that_makes_no_sense_is_an_error_that_says_where(tmp_path: Path, labelmap: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_dataset("cvat", write_export(tmp_path / "task", {"default": ["a"]}, labelmap))


def test_one_labelled_image_is_too_few(tmp_path: Path) -> None:
    export = write_export(tmp_path / "task", {"default": ["a"]})
    for split in ("train", "val"):
        with pytest.raises(InputError, match="holds 1 labelled image; two are needed"):
            cvat_reader(export, split, cvat_classes(export))


def test_what_is_no_export_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and nothing more")
    for name, message in [("empty", r"holds no labelmap\.txt"), ("broken.zip", "is no readable zip file")]:
        with pytest.raises(InputError, match=message):
            find_dataset("cvat", tmp_path / name)


def test_a_damaged_member_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "task", {"default": ["a", "b"]})
    export = tmp_path / "stored.zip"
    with zipfile.ZipFile(export, "w") as file:  # not compressed: bytes can be changed in place
        for member in sorted(folder.rglob("*")):
            file.write(member, member.relative_to(folder))
    photos = [path.read_bytes() for path in sorted((folder / "JPEGImages").iterdir())]
    content = export.read_bytes()
    for photo in photos:
        content = content.replace(photo, photo[:-9] + b"123456789")
    export.write_bytes(content)
    reader = readers(export)[0]
    with pytest.raises(InputError, match=r"stored\.zip/JPEGImages/.* cannot be unpacked: Bad CRC"):
        read_pair(reader, reader.stems()[0])


def test_a_member_that_would_fill_the_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    export = zipped(write_export(tmp_path / "task", {"default": ["a"], "val": ["b"]}))
    content = bytearray(export.read_bytes())
    for stem in ("a", "b"):  # the directory at the end of the zip now claims more than the limit
        place = content.rindex(f"SegmentationClass/{stem}.png".encode()) - 46 + 24
        content[place : place + 4] = (MAX_MEMBER_BYTES + 1).to_bytes(4, "little")
    export.write_bytes(bytes(content))
    for reader in readers(export):
        with pytest.raises(InputError, match="unpacks to more than 256 MiB"):
            reader.labels(reader.stems()[0])


@pytest.mark.parametrize("stem", ["../secret", "/etc/secret", "a/../../secret"])
def test_a_name_that_leads_out_of_the_export_is_refused(tmp_path: Path, stem: str) -> None:
    export = write_export(tmp_path / "task", {"default": ["a", "b"]})
    with (export / "ImageSets/Segmentation/default.txt").open("a") as file:
        file.write(f"{stem}\n")
    with pytest.raises(InputError, match="leads out of the export"):
        readers(export)
