"""Runs an exported model file as the service does, with ONNX Runtime."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from training.errors import InputError
from training.evaluate import Scorer, Segmenter


@dataclass(frozen=True)
class OnnxModel:
    """An .onnx file: its bytes, its card, and the scores that it computes."""

    content: bytes
    card: ModelCard
    scores: Scorer

    @property
    def segmenter(self) -> Segmenter:
        """A segmenter of the model with the geometry in its card."""
        return Segmenter(self.scores, self.card.long_side, self.card.pad_value, self.card.stride, self.card.output_stride)


def load_onnx(path: Path) -> OnnxModel:
    """The model in the file at `path`. Raises FileNotFoundError, or InputError as `read_onnx` does."""
    return read_onnx(path.read_bytes(), str(path))


def read_onnx(content: bytes, source: str) -> OnnxModel:
    """The model in the bytes of a file; `source` is its name for messages.

    Raises InputError if ONNX Runtime cannot run the model, or if it has no valid card.
    """
    session = open_session(content, source)
    try:
        card = ModelCard.model_validate_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    except KeyError as error:
        raise InputError(f"{source} has no card under the metadata key {METADATA_KEY!r}") from error
    except ValidationError as error:
        raise InputError(f"{source} has an invalid card: {error.errors()[0]['msg']}") from error

    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: image})[0]
        return result

    return OnnxModel(content, card, scores)


def open_session(content: bytes, source: str) -> ort.InferenceSession:
    """A session on the CPU with as many threads as torch uses, set up as in the service. Raises InputError if invalid."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle sessions leave the cores to other sessions
    options.enable_mem_pattern = False  # it would keep a plan for every image size ever seen
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no narrower base class
        raise InputError(f"{source} is no valid ONNX model: {str(error).splitlines()[0]}") from error
