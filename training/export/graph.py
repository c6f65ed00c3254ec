"""Makes the graph of a model file: a network as ONNX, with the card in its metadata."""

import copy
import logging
import warnings

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from training.networks.network import SegmentationNetwork


class _ModelFile(nn.Module):
    """The network with the input of a model file: uint8 (N, H, W, 3)."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.network(image.permute(0, 3, 1, 2).float())
        return scores


def to_onnx(network: SegmentationNetwork) -> onnx.ModelProto:
    """The graph of a model file, without its card; batch, height and width are dynamic."""
    model = _ModelFile(_out_of_place(copy.deepcopy(network).cpu())).eval()
    example = torch.zeros(2, 3 * network.stride, 2 * network.stride, 3, dtype=torch.uint8)
    axes = {0: Dim("batch"), 1: network.stride * Dim("rows"), 2: network.stride * Dim("columns")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # silences warnings about torchvision's operators: none are used
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.export warns of its own deprecated parts
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={"image": axes},
        )
    assert program is not None  # it is None only when given a file to write
    return _without_traces(program.model_proto)


def _out_of_place(network: SegmentationNetwork) -> SegmentationNetwork:
    """Activations overwrite nothing: the graph is the same, and torch finds it in two thirds of the time."""
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = False
    return network


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's debugging metadata: stack traces with paths on this machine."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    return model


def with_card(model: onnx.ModelProto, card: ModelCard) -> bytes:
    """The finished model file: the graph, checked, and its card in place of all other metadata."""
    described = onnx.ModelProto()
    described.CopyFrom(model)
    del described.metadata_props[:]
    onnx.helper.set_model_props(described, {METADATA_KEY: card.model_dump_json()})
    onnx.checker.check_model(described, full_check=True)
    content: bytes = described.SerializeToString()
    return content
