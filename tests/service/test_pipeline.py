"""What a request is expected to cost, before it is run."""

import io
from pathlib import Path

import pytest

from service.imaging.decode import open_image
from service.inference.models.repository import Repository
from service.inference.models.variant import Variant
from service.inference.scheduling.engine import EXPECTED_SPEED
from service.pipeline import Job
from tests.service.helpers.model_folders import looked_twice
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiny_models import write_model


def job(variant: Variant) -> Job:
    upload = open_image(io.BytesIO(encoded(flag())), 10**6)
    return Job(upload, variant, "model", "json", opacity=0.5)


def test_until_a_variant_is_measured_its_speed_is_what_its_card_says(tmp_path: Path) -> None:
    write_model(tmp_path, gmac=16.896)  # for 0.16896 megapixels
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    repository = Repository(tmp_path, "cpu")
    jobs = job(repository.variant("colors")), job(repository.variant("colors", "fp16"))
    assert [one.expected_speed for one in jobs] == pytest.approx([0.1, EXPECTED_SPEED])


def test_each_file_has_a_measured_speed_of_its_own(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_model(tmp_path, "colors.fp16.onnx", precision="fp16")
    repository = Repository(tmp_path, "cpu")
    before = job(repository.variant("colors"))
    assert job(repository.variant("colors")).kind == before.kind
    assert job(repository.variant("colors", "fp16")).kind != before.kind
    write_model(tmp_path, gmac=100.0)  # another network under the same name
    assert job(looked_twice(repository).variant("colors")).kind != before.kind
