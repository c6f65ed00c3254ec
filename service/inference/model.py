"""One model file: its card, and a session that runs it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from service.geometry import network_input, padded_size
from service.inference.cancellation import Cancellation
from service.inference.device import DeviceUnavailable, ReportedDevice, create_session, reported_device
from service.inference.tiling import Box, Tiling
from service.settings import Device

MAX_WHOLE_PIXELS = 4_000_000  # of an image for a model that cannot be tiled: a run takes about 200 bytes a pixel
TRIAL_SIDE = 1024  # pixels at most, of the image that a model is tried out with


class InvalidModel(ValueError):
    """A file that is not a model of this service's contract."""


@dataclass(frozen=True)
class Scores:
    """Class scores of a padded image, from the top, computed as they are asked for."""

    bands: Iterable[NDArray[np.float32]]  # (C, some rows, W / stride) each
    rows: int  # of all bands together
    stride: int  # image pixels per score, along each axis


@dataclass(frozen=True)
class Model:
    """A loaded model, safe to run from several threads at once."""

    card: ModelCard
    sha256: str  # of the file
    device: ReportedDevice
    session: ort.InferenceSession
    tiling: Tiling

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
        sha256, tiling = hashlib.sha256(content).hexdigest(), Tiling(content, card, partial(create_session, device=device))
        model = cls(card, sha256, reported_device(session), session, tiling)
        model._try_out(path)
        return model

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether an image of that working size (width, height) can be run, whole or in tiles."""
        width, height = padded_size(*size, self.card.stride)
        return self.card.halo is not None or width * height <= MAX_WHOLE_PIXELS

    def scores(self, image: Image.Image, cancellation: Cancellation) -> Scores:
        """The scores of an RGB image at its working size: of one run, or tile by tile where that would take too much memory.

        Only for a size that the model `takes`. Raises Cancelled, now or as the scores are computed.
        """
        card = self.card
        width, height = padded_size(*image.size, card.stride)
        rows = height // card.output_stride
        if card.halo is None or self.tiling.runs_whole(width, height):
            pixels = network_input(image, image.size, card.stride, card.pad_value)
            return Scores([self.run(pixels, cancellation)], rows, card.output_stride)

        def crop(box: Box) -> NDArray[np.uint8]:
            left, top, right, bottom = box
            part = image.crop((left, top, min(right, image.width), min(bottom, image.height)))
            return network_input(part, part.size, card.stride, card.pad_value)

        network = self.tiling.network(width, height)
        return Scores(network.scores(crop, width, height, cancellation), rows, card.output_stride)

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
