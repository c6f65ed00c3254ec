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
from training.data.reader import read_pair
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
    segmenter = load_onnx(DEFAULT_MODEL).segmenter
    served, own = ConfusionMatrix(classes), ConfusionMatrix(classes)
    other = pixels = 0
    with start_server() as server, httpx.Client(base_url=server.url, timeout=60) as client:
        for stem in reader.stems():
            content = (root / "JPEGImages" / f"{stem}.jpg").read_bytes()
            answer = client.post(
                "/segment", params={"format": "mask", "precision": "fp32"}, files={"file": content}
            ).raise_for_status()
            with Image.open(io.BytesIO(answer.content)) as mask:
                found = np.asarray(mask)
            image, truth = read_pair(reader, stem)
            labels = segmenter.labels(image)
            served.update(truth, found)
            own.update(truth, labels)
            other += int(np.count_nonzero(found != labels))
            pixels += labels.size
    data = f"{DATASET} val, {len(reader.stems())} images"
    for name, confusion in ((f"mean IoU through POST /segment, {data}. {DEFINITION}", served), ("... by the trainer", own)):
        yield Row(name, 100 * confusion.mean_iou, "%", note=f"pixel accuracy {confusion.pixel_accuracy:.2%}")
    yield Row("their difference", 100 * abs(served.mean_iou - own.mean_iou), "points", at_most=0.3)
    yield Row("pixels labelled differently", other, f"of {pixels:,}")


if __name__ == "__main__":
    run(measure)
