"""Records read back as they were written, and broken ones are told apart."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_network import DATASET
from tests.training.report.records import RECORD
from training.data.fingerprint import photos_fingerprint
from training.errors import InputError
from training.report.record import read_record, write_record


def test_a_record_reads_back_equal(tmp_path: Path) -> None:
    record = replace(RECORD, long_side=None, boundary_f=(0.1 + 0.2, None), seconds=0.1)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def test_a_finished_run_knows_the_photos_it_was_measured_on(run: Path, shapes: Path) -> None:
    assert read_record(run).photos == photos_fingerprint([DATASET.evaluation(shapes, "val")])


def test_a_record_is_json_with_a_line_for_each_field(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    lines = (tmp_path / "record.json").read_text().splitlines()
    assert json.loads("\n".join(lines))["confusion"] == [[90, 10], [20, 30]]
    assert '  "confusion": [[90, 10], [20, 30]],' in lines


def test_figures_follow_from_the_kept_counts() -> None:
    assert RECORD.matrix.jaccard.tolist() == [90 / 120, 30 / 60]
    assert math.isclose(RECORD.matrix.pixel_accuracy, 120 / 150)


@pytest.mark.parametrize("name", ["confusion", "boundary_f", "classes"])
def test_tables_that_do_not_fit_the_classes_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="differ in length"):
        replace(RECORD, **{name: getattr(RECORD, name)[:0]})


def test_a_folder_without_a_record_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=rf"{folder} holds no record\.json"):
            read_record(folder)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"images": "many"}, "images"),
        ({"confusion": [[1]]}, "differ in length"),
        ({"confusion": [[1, 2], [3]]}, "inhomogeneous"),
    ],
)
def test_a_broken_record_is_named_with_its_fault(change: dict[str, object], fault: str, tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    file = tmp_path / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=rf"record\.json is no record of a run: .*{fault}"):
        read_record(tmp_path)


def test_text_that_is_no_json_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(InputError, match="is no record of a run"):
        read_record(tmp_path)
