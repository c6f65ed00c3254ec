"""FastAPI around torch in eager mode, as tutorials have it.

python -m tests.benchmarks.competitors.torch_app PORT
"""

import io
import sys

import torch
import uvicorn
from fastapi import FastAPI, Response, UploadFile
from PIL import Image

from service.geometry import label_map, upright_rgb, working_size
from service.imaging.encode import mask_png
from tests.benchmarks.load import DEFAULT_MODEL, BarePipeline
from training.checkpoint import load_checkpoint
from training.evaluate import torch_scorer


def create_app() -> FastAPI:
    """The application; the model is loaded when it returns."""
    torch.set_num_threads(1)
    scores_of = torch_scorer(load_checkpoint(DEFAULT_MODEL.with_suffix(".safetensors")).network)
    pipeline = BarePipeline(threads=1)  # for its geometry and its card
    app = FastAPI()

    @app.post("/segment")
    def segment(file: UploadFile) -> Response:
        image, _ = upright_rgb(Image.open(io.BytesIO(file.file.read())))
        scores = scores_of(pipeline.pixels(image))[0]
        labels = label_map(scores, working_size(*image.size, pipeline.card.long_side), image.size, pipeline.card.output_stride)
        return Response(mask_png(labels, pipeline.card.classes, ""), media_type="image/png")

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
