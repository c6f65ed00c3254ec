"""Files are whole or absent, and weights read back as they were written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from training.errors import InputError
from training.files import load_weights, save_weights, write_atomically


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    write_atomically(file, b"old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, no_space)
    with pytest.raises(OSError, match="No space") as told:
        write_atomically(file, b"new and longer")
    assert told.value.filename == str(file)
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]  # a part of the new one would take room


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        write_atomically(tmp_path / "file", content)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_two_processes_that_write_a_file_at_once_do_not_mix_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"

    def slowly() -> Iterator[bytes]:
        yield b"one "
        with monkeypatch.context() as other:
            other.setattr("os.getpid", lambda: 0)
            write_atomically(file, b"another")
        assert file.read_bytes() == b"another"
        yield b"whole"

    write_atomically(file, slowly())
    assert file.read_bytes() == b"one whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_weights_come_back_with_their_types_and_metadata(tmp_path: Path) -> None:
    tensors = {"half": torch.ones(2, 3).half(), "count": torch.tensor(7), "turned": torch.arange(6.0).reshape(2, 3).T}
    save_weights(tmp_path / "w.safetensors", tensors, {"preset": "p"})
    loaded, metadata = load_weights(tmp_path / "w.safetensors")
    assert metadata == {"preset": "p"}
    assert {name: tensor.dtype for name, tensor in loaded.items()} == {name: t.dtype for name, t in tensors.items()}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_a_file_that_holds_no_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(InputError, match=r"w\.safetensors is no readable safetensors file"):
        load_weights(tmp_path / "w.safetensors")
