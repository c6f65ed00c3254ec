"""Reading SBD's layout: labels in MATLAB files."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from PIL import Image

from training.data.datasets import DATASETS
from training.data.reader import MissingSplit, read_pair
from training.errors import InputError

LABELS = np.array([[0, 15, 20], [8, 8, 0]], np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """benchmark_RELEASE with one image in two splits, as the published archive has it."""
    for folder in ("img", "cls"):
        (tmp_path / "dataset" / folder).mkdir(parents=True)
    for split in ("train", "val"):
        (tmp_path / "dataset" / f"{split}.txt").write_text("2008_000002\n")
    Image.new("RGB", (3, 2)).save(tmp_path / "dataset/img/2008_000002.jpg")
    boundaries = np.empty((20, 1), object)
    boundaries[:, 0] = [scipy.sparse.csc_matrix(class_id == LABELS) for class_id in range(1, 21)]
    content = {"Boundaries": boundaries, "Segmentation": LABELS, "CategoriesPresent": np.array([[8, 15, 20]])}
    scipy.io.savemat(tmp_path / "dataset/cls/2008_000002.mat", {"GTcls": content})
    return tmp_path


def test_labels_are_read_from_the_matlab_file(root: Path) -> None:
    sbd = DATASETS["sbd"]
    for reader in (sbd.train(root), sbd.evaluation(root, "val")):
        assert reader.stems() == ["2008_000002"]
        image, labels = read_pair(reader, "2008_000002")
        assert image.size == (3, 2)
        assert labels.dtype == np.uint8
        assert labels.tolist() == LABELS.tolist()


def test_what_is_no_label_file_of_sbd_is_an_error_that_names_it(root: Path) -> None:
    path = root / "dataset/cls/2008_000002.mat"
    reader = DATASETS["sbd"].train(root)
    scipy.io.savemat(path, {"GTinst": {"Segmentation": LABELS}})
    with pytest.raises(InputError, match=r"2008_000002\.mat cannot be read as MATLAB file with GTcls"):
        reader.labels("2008_000002")
    path.write_bytes(b"\0" * 200)
    with pytest.raises(InputError, match=r"2008_000002\.mat cannot be read"):
        reader.labels("2008_000002")
    scipy.io.savemat(path, {"GTcls": {"Segmentation": np.array([[0, 21]], np.uint8)}})
    with pytest.raises(InputError, match=r"2008_000002\.mat .*: 21 \(1 pixel\)"):
        reader.labels("2008_000002")
    path.unlink()
    with pytest.raises(InputError, match=r"2008_000002\.mat is missing"):
        reader.labels("2008_000002")


def test_a_split_without_a_list_is_missing(root: Path) -> None:
    with pytest.raises(MissingSplit, match=r"train_noval\.txt"):
        DATASETS["sbd"].evaluation(root, "train_noval").stems()
