"""The winning class of each pixel and its probability, computed by ONNX Runtime with one call per block.

Other threads can work during that call. numpy would need a hundred short calls, and threads that make such calls wait
for each other more than they work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.inference.files.onnx_file import Message, node, small_model
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import create_session
from service.results.blocks import Block

# If no score of a block is further behind the best score of its cell than this, exp() of every interpolated difference is above
# 0 in float32 (exp(-100) is 4e-44), and the class with the largest exp() wins. Otherwise exp() may be 0: scores are compared.
UNDERFLOW_MARGIN = 100.0
_one_at_a_time = Lock()  # opening a session of 255 classes takes a second: all threads that need it wait for one of them


@dataclass(frozen=True)
class Winners:
    """The winning classes of a block of the user's pixels."""

    labels: NDArray[np.uint8]  # (h, w) class ids; ties go to the lowest
    probability: NDArray[np.float32]  # (h, w) softmax of the winner: 1 / sum of exp(score - the winner's score)
    candidates: NDArray[np.uint8]  # ids of the classes that were compared, which include all labels


def winners(block: Block, cancellation: Cancellation) -> Winners:
    """Compare the enlarged scores of a block's classes. Raises as `Cancellation.run_options` does."""
    behind = block.scores - block.scores.max(0)  # a common offset does not change a pixel's probabilities
    classes = len(behind)
    # Enlarged scores lie between the four that they are made from: a class does not win where another's lowest is higher.
    most, least = _of_four(np.maximum, behind), _of_four(np.minimum, behind)
    loses = (most < least.max(0)).reshape(classes, -1).all(1)  # none, if every score is NaN
    order = np.argsort(loses, kind="stable").astype(np.uint8)
    compared = _compared(classes - int(np.count_nonzero(loses)), classes)
    inputs = {
        "scores": behind[order],
        "rows": block.rows[None],
        "columns": block.columns[None, None],
        "ids": order[:compared, None, None, None],
    }
    with _one_at_a_time:
        session = _session(classes, compared, bool(behind.min() >= -UNDERFLOW_MARGIN))
    with cancellation.run_options() as options:
        labels, probability = session.run(None, inputs, options)
    labels = np.broadcast_to(labels, probability.shape)  # with one candidate, there is only one label
    labels, probability = (found.reshape(-1, found.shape[-1])[: block.height] for found in (labels, probability))
    return Winners(labels, probability, order[:compared])


def _of_four(extreme: np.ufunc, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, n, k, l) -> (C, n, k - 1, l - 1): the extreme of each four scores that pixels lie between; a single k or l stays."""
    of_two = extreme(scores[:, :, :-1], scores[:, :, 1:]) if scores.shape[2] > 1 else scores
    found: NDArray[np.float32] = extreme(of_two[..., :-1], of_two[..., 1:]) if scores.shape[3] > 1 else of_two
    return found


def _compared(candidates: int, classes: int) -> int:
    """How many classes to compare if `candidates` may win: a power of two, since each number needs its own session."""
    return min(1 << (candidates - 1).bit_length(), classes)


@cache
def _session(classes: int, compared: int, cannot_underflow: bool) -> ort.InferenceSession:
    """A session whose graph finds the winners of one block.

    Two MatMuls enlarge the scores bilinearly; a chain of Greater, Max and Where finds the winner of each pixel; Exp, Add and
    Div compute the winner's softmax probability. Each class has its own tensor, instead of one (C, h, w) tensor for all, so
    that a class is still in the processor's cache when the next node uses it.
    `compared`: only the first `compared` classes may win; the rest only count in the softmax. `cannot_underflow`: no score is
    more than UNDERFLOW_MARGIN behind the best, so exp(score) can be compared instead of the score.
    """

    def of_each(name: str, number: int = classes) -> list[str]:
        return [f"{name}{index}" for index in range(number)]

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
    for index, challenger in enumerate(challengers, 1):
        won = f"won{index}"
        nodes += [
            node("Greater", [challenger, best], [won]),
            node("Max", [challenger, best], [f"best{index}"]),
            node("Where", [won, f"id{index}", label], [f"label{index}"]),
        ]
        best, label = f"best{index}", f"label{index}"
    if not cannot_underflow:
        nodes += [node("Sub", [score, best], [f"behind{score}"]) for score in of_each("score")]
        nodes += powers([f"behind{score}" for score in of_each("score")])
    total, *others = of_each("power")
    for index, power in enumerate(others, 1):  # one Sum of all would read each again from memory
        nodes.append(node("Add", [total, power], [f"total{index}"]))
        total = f"total{index}"
    nodes.append(
        node("Div", [best, total], ["probability"]) if cannot_underflow else node("Reciprocal", [total], ["probability"])
    )
    floats = dict.fromkeys(("scores", "rows", "columns"), np.dtype(np.float32))
    ids, labels = ({name: np.dtype(np.uint8)} for name in ("ids", label))
    return create_session(small_model(nodes, floats | ids, labels | {"probability": np.dtype(np.float32)}), "cpu", threads=1)
