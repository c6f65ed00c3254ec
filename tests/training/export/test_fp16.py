"""What fp16 makes of a graph."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.training.export.graphs import noise, scorer, small_unet
from training.checkpoint import Checkpoint
from training.evaluate import torch_scorer
from training.export.fp16 import to_fp16
from training.export.graph import to_onnx
from training.networks.network import SegmentationNetwork


@pytest.fixture(params=["fcn", "unet"])
def network(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> SegmentationNetwork:
    """An FCN, whose enlargements share their scales, and a U-Net, whose skips are read twice."""
    return checkpoint.network if request.param == "fcn" else small_unet()


def test_scores_stay_within_the_precision_of_fp16(network: SegmentationNetwork) -> None:
    converted = scorer(to_fp16(to_onnx(network)))
    for shape in ((1, 32, 96), (3, 96, 32)):
        expected, found = torch_scorer(network)(noise(*shape)), converted(noise(*shape))
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 0.01 * np.ptp(expected)


def test_every_weight_is_halved_and_the_normalisation_is_not(network: SegmentationNetwork) -> None:
    graph = to_fp16(to_onnx(network)).graph
    kept = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    for node in graph.node:
        if node.op_type in ("Sub", "Div"):
            assert set(node.input) & kept
        elif node.op_type != "Resize":
            assert not set(node.input) & kept
    assert sum(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer) > 5


def test_input_and_output_keep_their_types(network: SegmentationNetwork) -> None:
    graph = to_fp16(to_onnx(network)).graph
    types = [entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.output)]
    assert types == [onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT]
