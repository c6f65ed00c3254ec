"""FastAPI around torch in eager mode: by PyTorch's own pages, or tuned.

python -m tests.benchmarks.competitors.torch_app PORT default|tuned

The pages are the tutorial "Deploying PyTorch in Python via a REST API" (an image becomes a tensor of channels, rows and
columns) and that of torchvision's FCN on PyTorch Hub (torch enlarges the scores, and takes the class by `argmax`).
By them, FastAPI runs as many images at once as there are requests, up to 40; tuned, one at a time, as there is one core.
"""

import io
import sys
import threading
from contextlib import nullcontext

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Response, UploadFile
from PIL import Image
from torch.nn import functional

from service.imaging.encode import mask_png
from tests.benchmarks.load import DEFAULT_MODEL, BarePipeline
from training.checkpoint import load_checkpoint
from training.evaluate import torch_scorer


class TunedPipeline(BarePipeline):
    """The bare loop with torch in the session's place: this service's labels, and channels last, as tuning guides say."""

    def __init__(self) -> None:
        super().__init__(threads=1)  # for its card
        self.network = load_checkpoint(DEFAULT_MODEL.with_suffix(".safetensors")).network
        self.scores_of = torch_scorer(self.network)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """The scores."""
        scores: np.ndarray = self.scores_of(pixels)[0]
        return scores


class DefaultPipeline(TunedPipeline):
    """Everything between decode and encode in torch, for images of the model's resolution at most."""

    @torch.inference_mode()
    def __call__(self, content: bytes) -> bytes:
        """JPEG to mask."""
        image = Image.open(io.BytesIO(content)).convert("RGB")
        pixels = torch.from_numpy(self.pixels(image)).permute(0, 3, 1, 2).contiguous().float()
        scores = functional.interpolate(self.network(pixels), pixels.shape[2:], mode="bilinear")
        labels = scores[0, :, : image.height, : image.width].argmax(0)
        return mask_png(labels.byte().numpy(), self.card.classes, "")


def create_app(setting: str) -> FastAPI:
    """The application; the model is loaded when it returns."""
    torch.set_num_threads(1)
    pipeline = {"default": DefaultPipeline, "tuned": TunedPipeline}[setting]()
    turn = threading.Lock() if setting == "tuned" else nullcontext()
    app = FastAPI()

    @app.post("/segment")
    def segment(file: UploadFile) -> Response:
        content = file.file.read()
        with turn:
            mask = pipeline(content)
        return Response(mask, media_type="image/png")

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
