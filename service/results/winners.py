"""Which class wins each pixel, and how probable it is, by ONNX Runtime: a block in one call, in which other threads can work.

numpy would take a hundred short calls for it, and threads that make those wait for each other more than they work.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.inference.cancellation import Cancellation
from service.inference.device import create_session
from service.inference.onnx_file import Message, node, small_model
from service.results.blocks import Block

# If no score of a block is further behind the winner at its place, exp() of every interpolated difference is above 0 in float32
# (exp(-100) is 4e-44), and the class of the largest power is the winner. Otherwise powers may be 0, and scores are compared.
FAR = 100.0


def winners(block: Block, cancellation: Cancellation) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(h, w) class ids, ties to the lowest, and their softmax probabilities, 1 / sum of exp(score - the winner's).

    Raises as `Cancellation.run_options` does.
    """
    behind = block.scores - block.scores.max(0)  # a pixel's probabilities stay as they are, whatever its scores have in common
    classes, is_near = len(behind), bool(behind.min() >= -FAR)
    inputs = {
        "scores": behind[:, None],
        "rows": block.rows[None, None],
        "columns": block.columns[None, None],
        "ids": np.arange(classes, dtype=np.uint8)[:, None, None, None],
    }
    with cancellation.run_options() as options:
        labels, probability = _session(classes, is_near).run(None, inputs, options)
    return np.broadcast_to(labels[0, 0], probability.shape[2:]), probability[0, 0]  # of one class there is one label


@cache
def _session(classes: int, is_near: bool) -> ort.InferenceSession:
    """A tensor for each class, and no one for all of them: what lies in the cache is used up before the next comes.

    `is_near`: no score is further behind than FAR.
    """

    def of_each(name: str) -> list[str]:
        return [f"{name}{class_id}" for class_id in range(classes)]

    def powers(scores: Sequence[str]) -> list[Message]:
        return [node("Exp", [score], [power]) for score, power in zip(scores, of_each("power"), strict=True)]

    nodes = [
        node("MatMul", ["scores", "columns"], ["wide"]),
        node("Split", ["wide"], of_each("wide")),
        node("Split", ["ids"], of_each("id")),
        *(node("MatMul", ["rows", wide], [score]) for wide, score in zip(of_each("wide"), of_each("score"), strict=True)),
    ]
    compared = of_each("power" if is_near else "score")
    if is_near:
        nodes += powers(of_each("score"))
    best, label = compared[0], "id0"
    for class_id, challenger in enumerate(compared[1:], 1):
        won = f"won{class_id}"
        nodes += [
            node("Greater", [challenger, best], [won]),
            node("Max", [challenger, best], [f"best{class_id}"]),
            node("Where", [won, f"id{class_id}", label], [f"label{class_id}"]),
        ]
        best, label = f"best{class_id}", f"label{class_id}"
    if not is_near:
        nodes += [node("Sub", [score, best], [f"behind{score}"]) for score in compared]
        nodes += powers([f"behind{score}" for score in compared])
    nodes.append(node("Sum", of_each("power"), ["total"]))
    nodes.append(node("Div", [best, "total"], ["probability"]) if is_near else node("Reciprocal", ["total"], ["probability"]))
    floats = dict.fromkeys(("scores", "rows", "columns"), np.dtype(np.float32))
    ids, labels = ({name: np.dtype(np.uint8)} for name in ("ids", label))
    return create_session(small_model(nodes, floats | ids, labels | {"probability": np.dtype(np.float32)}), "cpu", threads=1)
