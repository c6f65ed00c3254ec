"""What fp16 makes of a graph."""

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.training.export.graphs import noise, scorer, small_paper_fcn, small_unet
from training.checkpoint import Checkpoint
from training.evaluate import torch_scorer
from training.export.fp16 import to_fp16
from training.export.graph import to_onnx
from training.networks.network import SegmentationNetwork


@dataclass(frozen=True)
class Converted:
    """A network and its graph in fp16."""

    network: SegmentationNetwork
    graph: onnx.ModelProto


@pytest.fixture(scope="module", params=["fcn", "unet", "paper"])
def converted(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Converted:
    """An FCN, whose enlargements share their scales; a U-Net, whose skips are read twice; crops as large as the input."""
    network = {"fcn": checkpoint.network, "unet": small_unet(), "paper": small_paper_fcn()}[request.param]
    return Converted(network, to_fp16(to_onnx(network)))


def test_scores_stay_within_the_precision_of_fp16(converted: Converted) -> None:
    scores = scorer(converted.graph)
    for shape in ((1, 32, 96), (3, 96, 32)):
        expected, found = torch_scorer(converted.network)(noise(*shape)), scores(noise(*shape))
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 0.01 * np.ptp(expected)


def test_every_weight_is_halved_but_the_normalisation_and_the_scales_of_enlargements(converted: Converted) -> None:
    graph = converted.graph.graph
    kept = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    readers = {node.op_type for node in graph.node if set(node.input) & kept}
    assert {"Sub", "Div"} <= readers <= {"Sub", "Div", "Resize"}
    assert sum(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer) > 5


def test_input_and_output_keep_their_types(converted: Converted) -> None:
    graph = converted.graph.graph
    types = [entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.output)]
    assert types == [TensorProto.UINT8, TensorProto.FLOAT]
