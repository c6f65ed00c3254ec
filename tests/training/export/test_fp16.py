"""What fp16 makes of a graph."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.training.export.graphs import Exported, exported, noise, scorer, small_paper_fcn, small_unet
from training.checkpoint import Checkpoint
from training.evaluate import torch_scorer
from training.export.fp16 import to_fp16


@pytest.fixture(scope="module", params=["fcn", "unet", "paper"])
def converted(request: pytest.FixtureRequest, checkpoint: Checkpoint, graph: onnx.ModelProto) -> Exported:
    """An FCN, whose enlargements share their scales; a U-Net, whose skips are read twice; crops as large as the input."""
    builders = {"unet": small_unet, "paper": small_paper_fcn}
    fp32 = Exported(checkpoint.network, graph) if request.param == "fcn" else exported(builders[request.param])
    return Exported(fp32.network, to_fp16(fp32.graph))


def test_scores_stay_within_the_precision_of_fp16(converted: Exported) -> None:
    scores = scorer(converted.graph)
    for shape in ((1, 32, 96), (3, 96, 32)):
        expected, found = torch_scorer(converted.network)(noise(*shape)), scores(noise(*shape))
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 0.01 * np.ptp(expected)


def test_every_weight_is_halved_but_the_normalisation_and_the_scales_of_enlargements(converted: Exported) -> None:
    graph = converted.graph.graph
    kept = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    readers = {node.op_type for node in graph.node if set(node.input) & kept}
    assert {"Sub", "Div"} <= readers <= {"Sub", "Div", "Resize"}
    assert sum(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer) > 5


def test_input_and_output_keep_their_types(converted: Exported) -> None:
    graph = converted.graph.graph
    types = [entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.output)]
    assert types == [TensorProto.UINT8, TensorProto.FLOAT]
