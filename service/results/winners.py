"""Which class wins each pixel, and how probable it is, by ONNX Runtime: a block in one call, in which other threads can work.

numpy would take a hundred short calls for it, and threads that make those wait for each other more than they work.
"""

from functools import cache

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.inference.cancellation import Cancellation
from service.inference.device import create_session
from service.inference.onnx_file import node, small_model
from service.results.blocks import Block


def winners(block: Block, cancellation: Cancellation) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(h, w) class ids, ties to the lowest, and their softmax probabilities, 1 / sum of exp(score - the winner's).

    Raises as `Cancellation.run_options` does.
    """
    classes = len(block.scores)
    inputs = {
        "scores": block.scores[:, None],
        "rows": block.rows[None, None],
        "columns": np.ascontiguousarray(block.columns)[None, None],
        "ids": np.arange(classes, dtype=np.uint8)[:, None, None, None],
    }
    with cancellation.run_options() as options:
        labels, probability = _session(classes).run(None, inputs, options)
    return labels[0, 0], probability[0, 0]


@cache
def _session(classes: int) -> ort.InferenceSession:
    """A tensor for each class, and no one for all of them: what lies in the cache is used up before the next comes."""

    def of_each(name: str) -> list[str]:
        return [f"{name}{class_id}" for class_id in range(classes)]

    best, label = "score0", "id0"
    nodes = [
        node("MatMul", ["scores", "columns"], ["wide"]),
        node("Split", ["wide"], of_each("wide")),
        node("Split", ["ids"], of_each("id")),
        *(node("MatMul", ["rows", wide], [score]) for wide, score in zip(of_each("wide"), of_each("score"), strict=True)),
    ]
    for class_id in range(1, classes):
        score, won = f"score{class_id}", f"won{class_id}"
        nodes += [
            node("Greater", [score, best], [won]),
            node("Max", [score, best], [f"best{class_id}"]),
            node("Where", [won, f"id{class_id}", label], [f"label{class_id}"]),
        ]
        best, label = f"best{class_id}", f"label{class_id}"
    for class_id in range(classes):
        nodes += [
            node("Sub", [f"score{class_id}", best], [f"behind{class_id}"]),
            node("Exp", [f"behind{class_id}"], [f"power{class_id}"]),
        ]
    nodes += [node("Sum", of_each("power"), ["total"]), node("Reciprocal", ["total"], ["probability"])]
    floats = dict.fromkeys(("scores", "rows", "columns"), np.dtype(np.float32))
    ids, labels = ({name: np.dtype(np.uint8)} for name in ("ids", label))
    return create_session(small_model(nodes, floats | ids, labels | {"probability": np.dtype(np.float32)}), "cpu", threads=1)
