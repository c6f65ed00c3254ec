"""Writes a run's metrics table for TensorBoard: `tensorboard --logdir RUN`."""

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class EventLog:
    """The event file of one start of the trainer; a resumed run adds a file, and TensorBoard reads the files in order.

    tensorboardX's own SummaryWriter hands events to a thread and cannot tell when they are on the disk; this class can.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        """Begin a file in `folder`. It cancels the rows of earlier files for `first_epoch`, the next epoch, and later ones."""
        folder.mkdir(parents=True, exist_ok=True)
        # The epoch in the name keeps files that are begun in the same second apart and in order.
        self._writer = EventsWriter(str(folder / "events"), f".{first_epoch:06d}")
        self._write(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def add(self, row: Mapping[str, object]) -> None:
        """Add one row of the metrics table, whose `epoch` is the step; the row is on the disk when this returns.

        Each column becomes a scalar, grouped as `train/...` and `val/...`; NaN and values that are no numbers are left out.
        """
        values = {name: _number(value) for name, value in row.items() if name != "epoch"}
        scalars = [
            Summary.Value(tag=re.sub(r"^(train|val)_", r"\1/", name), simple_value=value)
            for name, value in values.items()
            if not math.isnan(value)
        ]
        self._write(Event(step=int(str(row["epoch"])), summary=Summary(value=scalars)))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
        self._writer.flush()


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan
