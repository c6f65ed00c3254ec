"""Accuracy of the default model as served: every val image through POST /segment, beside the trainer's own evaluation.

DATA_DIR=../shared/data python -m tests.benchmarks.bench_served_accuracy
"""

import io
import os
import sys
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from service.metrics import DEFINITION, ConfusionMatrix
from tests.benchmarks.load import DEFAULT_MODEL
from tests.service_process import start_server, stop_server
from training.data.datasets import DATASETS
from training.evaluate import evaluate
from training.onnx_model import load_onnx

DATASET = "voc-animals"


def main() -> int:
    """Print both mean IoUs and their difference."""
    if "DATA_DIR" not in os.environ:
        print("served accuracy: not measured, DATA_DIR is not set")
        return 0
    root = Path(os.environ["DATA_DIR"]) / DATASET
    dataset = DATASETS[DATASET]
    reader = dataset.evaluation(root, "val")
    classes = len(dataset.classes)
    served = ConfusionMatrix(classes)
    server = start_server(quiet=True)
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for stem in reader.stems():
                content = (root / "JPEGImages" / f"{stem}.jpg").read_bytes()
                answer = client.post(
                    "/segment", params={"format": "mask", "precision": "fp32"}, files={"file": content}
                ).raise_for_status()
                with Image.open(io.BytesIO(answer.content)) as mask:
                    served.update(reader.labels(stem), np.asarray(mask))
    finally:
        stop_server(server)
    own = evaluate(load_onnx(DEFAULT_MODEL).segmenter, reader, classes)
    print(f"{DATASET} val, {len(reader.stems())} images. {DEFINITION}")
    print(f"  through POST /segment      mean IoU {served.mean_iou:.2%}, pixel accuracy {served.pixel_accuracy:.2%}")
    print(f"  the trainer's evaluation   mean IoU {own.mean_iou:.2%}, pixel accuracy {own.pixel_accuracy:.2%}")
    print(f"  difference {abs(served.mean_iou - own.mean_iou):.3%} points  (bar: 0.3)")
    print(f"  pixels labelled differently: {int(np.abs(served.counts - own.counts).sum()) // 2} of {served.counts.sum()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
