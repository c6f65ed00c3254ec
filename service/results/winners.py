"""Which class wins each pixel, and how probable it is, by ONNX Runtime: a block in one call, in which other threads can work.

numpy would take a hundred short calls for it, and threads that make those wait for each other more than they work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.inference.files.onnx_file import Message, node, small_model
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import create_session
from service.results.blocks import Block

# If no score of a block is further behind the winner at its place, exp() of every interpolated difference is above 0 in float32
# (exp(-100) is 4e-44), and the class of the largest power is the winner. Otherwise powers may be 0, and scores are compared.
UNDERFLOW_MARGIN = 100.0


@dataclass(frozen=True)
class Winners:
    """Of a block of the user's pixels."""

    labels: NDArray[np.uint8]  # (h, w) class ids; ties go to the lowest
    probability: NDArray[np.float32]  # (h, w) of the winner, by softmax: 1 / sum of exp(score - the winner's)
    candidates: NDArray[np.uint8]  # class ids: the labels are among them


def winners(block: Block, cancellation: Cancellation) -> Winners:
    """Compare the enlarged scores of a block's classes. Raises as `Cancellation.run_options` does."""
    behind = block.scores - block.scores.max(0)  # a pixel's probabilities stay as they are, whatever its scores have in common
    classes = len(behind)
    of_class = behind.reshape(classes, -1)
    most, least = of_class.max(1), of_class.min(1)
    # What is enlarged lies between the scores that it is made from: a class that is below another's least nowhere wins.
    loses = most < least.max()  # of scores that are not numbers, none
    order = np.argsort(loses, kind="stable").astype(np.uint8)
    compared = _compared(classes - int(np.count_nonzero(loses)), classes)
    inputs = {
        "scores": behind[order],
        "rows": block.rows[None],
        "columns": block.columns[None, None],
        "ids": order[:compared, None, None, None],
    }
    with cancellation.run_options() as options:
        labels, probability = _session(classes, compared, bool(least.min() >= -UNDERFLOW_MARGIN)).run(None, inputs, options)
    labels = np.broadcast_to(labels, probability.shape)  # of one candidate there is one label
    labels, probability = (found.reshape(-1, found.shape[-1])[: block.height] for found in (labels, probability))
    return Winners(labels, probability, order[:compared])


def _compared(candidates: int, classes: int) -> int:
    """How many classes are compared where so many may win: a power of two, since each number needs a session of its own."""
    return min(1 << (candidates - 1).bit_length(), classes)


@cache
def _session(classes: int, compared: int, cannot_underflow: bool) -> ort.InferenceSession:
    """The graph for one block.

    Two MatMuls enlarge the scores bilinearly; a chain of Greater, Max and Where finds the winner of each pixel; Exp, Sum and
    Div its softmax probability. Each class has a tensor of its own, rather than all one of (C, h, w), so that it is still in
    the processor's cache when the next node uses it.
    `compared`: only so many classes, the first, may win; the others count in the softmax alone. `cannot_underflow`: no score
    is more than UNDERFLOW_MARGIN behind, so that powers can be compared instead of scores.
    """

    def of_each(name: str, number: int = classes) -> list[str]:
        return [f"{name}{place}" for place in range(number)]

    def powers(scores: Sequence[str]) -> list[Message]:
        return [node("Exp", [score], [power]) for score, power in zip(scores, of_each("power"), strict=True)]

    nodes = [
        node("MatMul", ["scores", "columns"], ["wide"]),
        node("Split", ["wide"], of_each("wide")),
        node("Split", ["ids"], of_each("id", compared)),
        *(node("MatMul", ["rows", wide], [score]) for wide, score in zip(of_each("wide"), of_each("score"), strict=True)),
    ]
    if cannot_underflow:
        nodes += powers(of_each("score"))
    best, *challengers = of_each("power" if cannot_underflow else "score", compared)
    label = "id0"
    for place, challenger in enumerate(challengers, 1):
        won = f"won{place}"
        nodes += [
            node("Greater", [challenger, best], [won]),
            node("Max", [challenger, best], [f"best{place}"]),
            node("Where", [won, f"id{place}", label], [f"label{place}"]),
        ]
        best, label = f"best{place}", f"label{place}"
    if not cannot_underflow:
        nodes += [node("Sub", [score, best], [f"behind{score}"]) for score in of_each("score")]
        nodes += powers([f"behind{score}" for score in of_each("score")])
    nodes.append(node("Sum", of_each("power"), ["total"]))
    nodes.append(
        node("Div", [best, "total"], ["probability"]) if cannot_underflow else node("Reciprocal", ["total"], ["probability"])
    )
    floats = dict.fromkeys(("scores", "rows", "columns"), np.dtype(np.float32))
    ids, labels = ({name: np.dtype(np.uint8)} for name in ("ids", label))
    return create_session(small_model(nodes, floats | ids, labels | {"probability": np.dtype(np.float32)}), "cpu", threads=1)
