"""Makes the graph of a model file: a network as ONNX, with the card in its metadata."""

import copy
import logging
import warnings

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils.fusion import fuse_conv_bn_eval

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
    model = _ModelFile(_simplified(copy.deepcopy(network).cpu().eval())).eval()
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


class _ReLU6(nn.Module):
    """`nn.ReLU6` as one operation for torch to trace."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, 0, 6)


def _simplified(network: SegmentationNetwork) -> SegmentationNetwork:
    """The same function, but for rounding, which torch traces in half the time; the graph has the same nodes.

    Normalisations are folded into the convolutions before them, and activations do not overwrite their input.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.ReLU):
            module.inplace = False
        elif isinstance(module, nn.Sequential):
            for index, layer in enumerate(module):
                if isinstance(layer, nn.ReLU6):
                    module[index] = _ReLU6()
                elif isinstance(layer, nn.BatchNorm2d) and index > 0 and isinstance(before := module[index - 1], nn.Conv2d):
                    module[index - 1], module[index] = fuse_conv_bn_eval(before, layer), nn.Identity()
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
