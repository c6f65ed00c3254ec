"""Options that cannot be."""

from pathlib import Path

import pytest

from training.__main__ import main


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["train", "--data", "x", "--epochs", "abc"], "--epochs: must be a whole number of at least 1, not 'abc'"),
        (["train", "--data", "x", "--epochs", "0"], "--epochs: must be a whole number of at least 1, not '0'"),
        (
            ["evaluate", "m", "--data", "x", "--scales", "1", "abc"],
            "--scales: must be a number above 0 and below 10, not 'abc'",
        ),
        (["evaluate", "m", "--data", "x", "--scales", "10"], "--scales: must be a number above 0 and below 10, not '10'"),
    ],
)
def test_a_number_that_cannot_be_is_told_with_those_that_can(
    given: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["train", "--data", "x"], ["export", "m"], ["report", "r"]], ids=lambda command: command[0]
)
def test_a_file_in_the_place_of_the_folder_to_write_to_is_told_at_once(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main([*command, "--out", str(tmp_path / "file")])
    assert "file is a file, not a folder" in capsys.readouterr().err
