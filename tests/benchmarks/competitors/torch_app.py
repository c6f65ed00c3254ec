"""FastAPI around torch in eager mode, as tutorials have it.

python -m tests.benchmarks.competitors.torch_app PORT
"""

import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Response, UploadFile

from tests.benchmarks.load import DEFAULT_MODEL, BarePipeline
from training.checkpoint import load_checkpoint
from training.evaluate import torch_scorer


class TorchPipeline(BarePipeline):
    """The same steps, with torch in the session's place."""

    def __init__(self) -> None:
        super().__init__(threads=1)  # for its card
        self.scores_of = torch_scorer(load_checkpoint(DEFAULT_MODEL.with_suffix(".safetensors")).network)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """The scores."""
        scores: np.ndarray = self.scores_of(pixels)[0]
        return scores


def create_app() -> FastAPI:
    """The application; the model is loaded when it returns."""
    torch.set_num_threads(1)
    pipeline = TorchPipeline()
    app = FastAPI()

    @app.post("/segment")
    def segment(file: UploadFile) -> Response:
        return Response(pipeline(file.file.read()), media_type="image/png")

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
