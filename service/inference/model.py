"""One model file: its card, and a session that runs it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from service.geometry import padded_size
from service.inference.cancellation import Cancellation
from service.inference.device import DeviceUnavailable, ReportedDevice, create_session, reported_device
from service.settings import Device

TRIAL_SIDE = 1024  # pixels at most, of the image that a model is tried out with


class InvalidModel(ValueError):
    """A file that is not a model of this service's contract."""


@dataclass(frozen=True)
class Model:
    """A loaded model, safe to run from several threads at once."""

    card: ModelCard
    sha256: str  # of the file
    device: ReportedDevice
    session: ort.InferenceSession

    @classmethod
    def load(cls, path: Path, device: Device) -> "Model":
        """Read, check and try out a model file.

        Raises InvalidModel if the card, the signature or the scores of a small test image are not as the contract
        says, DeviceUnavailable as `create_session` does.
        """
        try:
            content = path.read_bytes()
            session = create_session(content, device)
            metadata = session.get_modelmeta().custom_metadata_map
            card = ModelCard.model_validate_json(metadata.get(METADATA_KEY, ""))
        except DeviceUnavailable:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise InvalidModel(f"{path}: {error}") from error
        model = cls(card, hashlib.sha256(content).hexdigest(), reported_device(session), session)
        model._try_out(path)
        return model

    def run(self, image: NDArray[np.uint8], cancellation: Cancellation) -> NDArray[np.float32]:
        """(1, H, W, 3) uint8, H and W multiples of the stride -> (C, H / output_stride, W / output_stride) float32.

        Raises Cancelled if the work was called off before or during the run.
        """
        with cancellation.run_options() as options:
            [scores] = self.session.run([OUTPUT_NAME], {INPUT_NAME: image}, options)
        result: NDArray[np.float32] = scores[0]
        return result

    def _try_out(self, path: Path) -> None:
        # At the largest ordinary size, so that the session has taken the memory it needs before it takes traffic.
        side = min(self.card.long_side or 1, TRIAL_SIDE)
        width, height = padded_size(side, side, self.card.stride)
        try:
            scores = self.run(np.full((1, height, width, 3), self.card.pad_value, np.uint8), Cancellation())
        except Exception as error:  # as above
            raise InvalidModel(f"{path}: a test image of {width}x{height} does not run: {error}") from error
        expected = (len(self.card.classes), height // self.card.output_stride, width // self.card.output_stride)
        if scores.shape != expected or scores.dtype != np.float32 or not np.isfinite(scores).all():
            raise InvalidModel(f"{path}: scores are {scores.dtype} {scores.shape}, the card says float32 {expected}, finite")
