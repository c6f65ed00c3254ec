"""Rounded weights shift no mean."""

import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from tests.training.export.graphs import exported, noise, separable_fcn
from training.evaluate import torch_scorer
from training.export.int8 import to_int8

IMAGES = [noise(1, 64, 64, seed=seed) for seed in range(4)]


def test_each_convolution_gives_the_same_mean_with_rounded_weights_and_corrected_bias() -> None:
    network = separable_fcn()
    quantised = to_int8(exported(separable_fcn).graph, IMAGES)
    tensors = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in quantised.graph.initializer}
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    read: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers.values()}

    def record(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        read[layer].append(inputs[0].mean((0, 2, 3)))

    for layer in layers.values():
        layer.register_forward_pre_hook(record)
    for image in IMAGES:
        torch_scorer(network)(image)
    for name in ("backbone.layers.2", "backbone.layers.4", "scores.0"):
        layer = layers[name]
        assert layer.bias is not None
        mean = torch.stack(read[layer]).mean(0)[None, :, None, None].expand(-1, -1, *layer.kernel_size)
        weight = tensors[f"network.{name}.weight_quantized"] * tensors[f"network.{name}.weight_scale"][:, None, None, None]
        bias = tensors[f"network.{name}.bias_quantized"] * tensors[f"network.{name}.bias_quantized_scale"]
        expected = F.conv2d(mean, layer.weight, layer.bias, groups=layer.groups)
        errors = [(F.conv2d(mean, weight, its, groups=layer.groups) - expected).abs().max() for its in (bias, layer.bias)]
        assert errors[0] < 0.2 * errors[1]
