"""An exported model file, run as the service runs it: through ONNX Runtime."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from training.errors import InputError
from training.evaluate import Scorer, Segmenter

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class OnnxModel:
    """What an .onnx file holds: its scorer and its card."""

    scores: Scorer
    card: ModelCard

    @property
    def segmenter(self) -> Segmenter:
        """The model with the geometry that its card gives it."""
        return Segmenter(self.scores, self.card.long_side, self.card.pad_value, self.card.stride, self.card.output_stride)


def onnx_scorer(model: bytes) -> Scorer:
    """A scorer that runs a serialised ONNX model on the CPU. Raises InputError if it is no valid model."""
    return _scorer(_session(model))


def load_onnx(path: Path) -> OnnxModel:
    """Raises FileNotFoundError, or InputError if the file is no model or has no valid card."""
    session = _session(path.read_bytes())
    try:
        card = ModelCard.model_validate_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    except KeyError as error:
        raise InputError(f"{path} has no card under the metadata key {METADATA_KEY!r}") from error
    except ValidationError as error:
        raise InputError(f"{path} has an invalid card: {error.errors()[0]['msg']}") from error
    return OnnxModel(_scorer(session), card)


def _scorer(session: "onnxruntime.InferenceSession") -> Scorer:
    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: image})[0]
        return result

    return scores


def _session(model: bytes) -> "onnxruntime.InferenceSession":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the module is loaded
    import onnxruntime  # noqa: PLC0415

    try:
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no narrower base class
        raise InputError(f"no valid ONNX model: {str(error).splitlines()[0]}") from error
