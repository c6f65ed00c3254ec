"""download as a person runs it."""

import argparse
from pathlib import Path

import pytest

from training.commands import download
from training.errors import InputError


def test_the_licence_is_told_before_anything_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    download.add_arguments(parser)
    (tmp_path / "camvid").mkdir()
    (tmp_path / "camvid/mine.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        download.run(parser.parse_args(["camvid", "--out", str(tmp_path / "camvid")]))
    assert "CC BY-NC 4.0" in capsys.readouterr().out
