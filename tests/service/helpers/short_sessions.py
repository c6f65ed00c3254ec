"""Sessions of ONNX Runtime that have no memory for a run, and what runs are asked to give back."""

from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf.message import DecodeError

MESSAGE = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : BFCArena::AllocateRawInternal Failed to allocate memory for 3211264"
SHRINKAGE = "memory.enable_memory_arena_shrinkage"


class Short:
    """Sessions on a device with room for so many pixels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room, self.opened, self.refused = 1 << 40, 0, 0
        self.opens, self.message = True, MESSAGE
        self.events: list[str] = []  # what became of each session, and of each run of the network
        original = ort.InferenceSession
        short = self

        class Session(original):  # type: ignore[misc, valid-type]  # the package has no types
            def __init__(self, *given: object, **named: object) -> None:
                short.opened += 1
                if not short.opens:
                    raise RuntimeError(short.message)
                super().__init__(*given, **named)
                short.events.append("opened")

            def run(self, names: list[str], inputs: dict[str, np.ndarray], options: ort.RunOptions = None) -> object:
                if "columns" in inputs:  # labels and probabilities, which are no run of the network
                    return super().run(names, inputs, options)
                if any(array.size > 3 * short.room for array in inputs.values()):
                    short.refused += 1
                    short.events.append("refused")
                    raise RuntimeError(MESSAGE)
                shrunk = shrunk_arenas(options)
                short.events.append(f"shrunk {shrunk}" if shrunk else "run")
                return super().run(names, inputs, options)

        monkeypatch.setattr(ort, "InferenceSession", Session)


def shrunk_arenas(options: ort.RunOptions) -> str:
    """The arenas that are to give back what a run does not need."""
    try:
        arenas: str = options.get_run_config_entry(SHRINKAGE)
    except RuntimeError:  # there is no such entry
        return ""
    return arenas


def _short_of_memory(_: bytes) -> object:
    raise DecodeError("Error parsing message: Arena alloc failed")


UNPARSED = SimpleNamespace(FromString=_short_of_memory)  # for protobuf's class of a model, when memory is short
