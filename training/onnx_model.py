"""An exported model file, run as the service runs it: through ONNX Runtime."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from training.errors import InputError
from training.evaluate import Scorer, Segmenter


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
    """A scorer that runs a serialised ONNX model on the CPU. Raises what ONNX Runtime raises for a broken model."""
    session = _session(model)

    def scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: image})[0]
        return result

    return scores


def load_onnx(path: Path) -> OnnxModel:
    """Raises FileNotFoundError, or InputError if the file is no model or has no valid card."""
    content = path.read_bytes()
    try:
        card = _session(content).get_modelmeta().custom_metadata_map[METADATA_KEY]
        return OnnxModel(onnx_scorer(content), ModelCard.model_validate_json(card))
    except KeyError as error:
        raise InputError(f"{path} has no card under the metadata key {METADATA_KEY!r}") from error
    except ValidationError as error:
        raise InputError(f"{path} has an invalid card: {error.errors()[0]['msg']}") from error
