"""Event files hold the metrics table, whatever was killed and resumed."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from training.tensorboard import EventLog


def row(epoch: int, loss: str, **more: str) -> dict[str, object]:
    return {"epoch": epoch, "train_loss": loss, **more}


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return checksum ^ 0xFFFFFFFF


def records(file: Path) -> Iterator[bytes]:
    """Contents of a TFRecord file: length, its masked checksum, data, its masked checksum."""
    content, position = file.read_bytes(), 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        data = content[position + 12 : position + 12 + length]
        for part, stored in ((content[position : position + 8], position + 8), (data, position + 12 + length)):
            checksum = crc32c(part)
            masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack_from("<I", content, stored) == (masked,)
        yield data
        position += 16 + length


def shown(folder: Path) -> dict[str, dict[int, float]]:
    """Scalars by tag and step, by TensorBoard's rule: a start takes back its own step and all later ones."""
    scalars: dict[str, dict[int, float]] = {}
    for file in sorted(folder.iterdir()):
        for event in map(Event.FromString, records(file)):
            if event.session_log.status == SessionLog.START:
                scalars = {tag: {s: v for s, v in steps.items() if s < event.step} for tag, steps in scalars.items()}
            for value in event.summary.value:
                steps = scalars.setdefault(value.tag, {})
                assert event.step not in steps, "an epoch is there twice"
                steps[event.step] = value.simple_value
    return scalars


def test_every_number_of_the_table_is_a_scalar_of_its_epoch(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events", 0)
    log.add(row(0, "0.75", val_mean_iou="0.5", val_iou_cat="0.25"))
    log.add(row(1, "0.5", val_mean_iou="0.625", val_iou_cat="0.375"))
    log.close()
    assert shown(tmp_path / "events") == {
        "train/loss": {0: 0.75, 1: 0.5},
        "val/mean_iou": {0: 0.5, 1: 0.625},
        "val/iou_cat": {0: 0.25, 1: 0.375},
    }


def test_an_absent_class_and_a_word_are_no_scalars(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 0)
    log.add(row(0, "0.75", val_iou_cat="nan", note="warm-up"))
    log.close()
    assert shown(tmp_path) == {"train/loss": {0: 0.75}}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_resumed_run_shows_each_epoch_once(lost: int, tmp_path: Path) -> None:
    killed = EventLog(tmp_path, 0)
    for epoch in range(4):
        killed.add(row(epoch, "1"))  # and no close: the process is gone
    resumed = EventLog(tmp_path, 4 - lost)
    for epoch in range(4 - lost, 6):
        resumed.add(row(epoch, "2"))
    assert shown(tmp_path) == {"train/loss": {epoch: 1 if epoch < 4 - lost else 2 for epoch in range(6)}}


def test_a_row_is_on_the_disk_as_soon_as_it_is_added(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 0)
    log.add(row(0, "0.75"))
    assert shown(tmp_path) == {"train/loss": {0: 0.75}}
    log.close()
