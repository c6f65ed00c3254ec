"""Accuracy of the default model as served: every val image through POST /segment, beside the trainer's own evaluation.

DATA_DIR=../shared/data python -m tests.benchmarks.bench_served_accuracy
"""

import io
import os
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from service.metrics import DEFINITION, ConfusionMatrix
from tests.benchmarks.load import DEFAULT_MODEL
from tests.benchmarks.table import CannotRun, Row, Rows, run
from tests.service_process import start_server
from training.data.datasets import DATASETS
from training.evaluate import evaluate
from training.onnx_model import load_onnx

DATASET = "voc-animals"


def measure() -> Rows:
    """Both mean IoUs and their difference."""
    if "DATA_DIR" not in os.environ:
        raise CannotRun("DATA_DIR is not set")
    root = Path(os.environ["DATA_DIR"]) / DATASET
    dataset = DATASETS[DATASET]
    reader = dataset.evaluation(root, "val")
    classes = len(dataset.classes)
    served = ConfusionMatrix(classes)
    with start_server() as server, httpx.Client(base_url=server.url, timeout=60) as client:
        for stem in reader.stems():
            content = (root / "JPEGImages" / f"{stem}.jpg").read_bytes()
            answer = client.post(
                "/segment", params={"format": "mask", "precision": "fp32"}, files={"file": content}
            ).raise_for_status()
            with Image.open(io.BytesIO(answer.content)) as mask:
                served.update(reader.labels(stem), np.asarray(mask))
    own = evaluate(load_onnx(DEFAULT_MODEL).segmenter, reader, classes)
    data = f"{DATASET} val, {len(reader.stems())} images"
    for name, found in ((f"mean IoU through POST /segment, {data}. {DEFINITION}", served), ("... by the trainer", own)):
        yield Row(name, 100 * found.mean_iou, "%", note=f"pixel accuracy {found.pixel_accuracy:.2%}")
    yield Row("their difference", 100 * abs(served.mean_iou - own.mean_iou), "points", at_most=0.3)
    other = int(np.abs(served.counts - own.counts).sum()) // 2
    yield Row("pixels labelled differently", other, f"of {served.counts.sum():,}")


if __name__ == "__main__":
    run(measure)
