"""From a trained network to one self-describing .onnx file, and fp16 weights for fine-tuning beside it."""

import copy
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from service.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelCard
from training.card import Measurements, describe
from training.checkpoint import Checkpoint, describe_weights
from training.errors import InputError
from training.evaluate import Segmenter, torch_scorer
from training.networks.network import SegmentationNetwork
from training.onnx_model import onnx_scorer
from training.parity import require_parity
from training.run_folder import save_weights, write_atomically


def export(checkpoint: Checkpoint, models: Path, name: str, where: Measurements) -> ModelCard:
    """Write `<name>.onnx` and `<name>.safetensors` into the folder `models`; returns the card.

    Every figure of the card is measured on the file's own graph. Raises ParityError, and leaves
    both files as they were, if that graph does not say what the network says.
    """
    network, preset = checkpoint.network, checkpoint.preset
    model = to_onnx(network)
    scores = onnx_scorer(model.SerializeToString())
    parity = require_parity(torch_scorer(network), scores, network.stride, network.output_stride)
    print(f"parity with torch: {parity}", flush=True)
    segmenter = Segmenter(scores, preset.long_side, preset.pad_value, network.stride, network.output_stride)
    card = describe(checkpoint, name, segmenter, where)
    weights = half_weights(network)
    models.mkdir(parents=True, exist_ok=True)
    write_atomically(models / f"{name}.onnx", with_card(model, card))
    save_weights(models / f"{name}.safetensors", weights, describe_weights(preset, checkpoint.data, checkpoint.commit))
    return card


class _ModelFile(nn.Module):
    """The network behind the model file's own input: uint8 (N, H, W, 3)."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.network(image.permute(0, 3, 1, 2).float())
        return scores


def to_onnx(network: SegmentationNetwork) -> onnx.ModelProto:
    """The graph of a model file, without its card; batch, height and width are free."""
    model = _ModelFile(copy.deepcopy(network).cpu()).eval()
    example = torch.zeros(2, 3 * network.stride, 2 * network.stride, 3, dtype=torch.uint8)
    axes = {0: Dim("batch"), 1: network.stride * Dim("rows"), 2: network.stride * Dim("columns")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision's operators, which nobody asked for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.export on its own deprecated parts
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


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes of its own working: stack traces with paths of this machine."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    return model


def with_card(model: onnx.ModelProto, card: ModelCard) -> bytes:
    """The finished model file: the graph, checked, and its card."""
    described = onnx.ModelProto()
    described.CopyFrom(model)
    onnx.helper.set_model_props(described, {METADATA_KEY: card.model_dump_json()})
    onnx.checker.check_model(described, full_check=True)
    content: bytes = described.SerializeToString()
    return content


def half_weights(network: SegmentationNetwork) -> dict[str, Tensor]:
    """All tensors of a network, floating-point ones as fp16. Raises InputError if one does not fit its range."""
    state = network.state_dict()
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for name, tensor in half.items():
        if not tensor.isfinite().all():
            raise InputError(f"{name} does not fit fp16: its largest value is {state[name].abs().max():.3g}")
    return half
