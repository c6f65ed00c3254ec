"""Static int8 quantisation (Jacob et al., 2018, arXiv:1712.05877): weights per channel, activations by calibration.

What each part contributes, in points of mean IoU that animals-fcn8s-lite0 loses on voc-animals val, on an AVX2 processor:
8-bit weights everywhere lose 4.4; 7-bit weights everywhere 2.3; 7 bits except in depthwise convolutions 0.9; the first
convolution also in fp32 0.8; biases also corrected 0.05. With VNNI, that last version loses 0.34 (see the model's card).
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from service.contract import INPUT_NAME, ModelCard
from service.geometry import network_input, working_size
from training.data.reader import Reader, read_upright
from training.errors import InputError
from training.export.bias_correction import Images, correct_biases, groups
from training.spread import at_even_steps

CALIBRATION_IMAGES = 60
# Without VNNI, x86 adds two products of uint8 and int8 in 16 bits and saturates; weights of -64..64 never overflow.
# Depthwise convolutions do not add such pairs, so they keep all eight bits, which they need.
SEVEN_BITS = {"axis": 0, "reduce_range": True}


def calibration_images(reader: Reader, card: ModelCard) -> Images:
    """Images of a split, each (1, H, W, 3) uint8, prepared for the model of `card` as the service prepares them.

    Neighbours in a list are often alike (frames of a video, photos of one day), so the images are chosen at even steps.
    Raises InputError if there are none, or if one cannot be read.
    """
    stems = at_even_steps(reader.stems(), CALIBRATION_IMAGES)
    if not stems:
        raise InputError("int8 is calibrated on training images, and there is none")
    images = (read_upright(reader, stem) for stem in stems)
    return [network_input(i, working_size(*i.size, card.long_side), card.stride, card.pad_value) for i in images]


def to_int8(model: ModelProto, images: Images) -> ModelProto:
    """The graph with every operator quantised that can be, with the extremes on `images` as ranges of the activations.

    Input and output keep their types. All types of operators are quantised: if only convolutions and additions are, ReLU6
    stays outside the quantised part, and EfficientNet-Lite0 loses 12 points of mean IoU on CamVid. The first convolution
    stays fp32: its few weights meet the full contrast of the image, and it takes little time.
    """
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    dense = [node for node in model.graph.node if node.op_type == "Conv" and node != first and groups(node) == 1]
    with tempfile.TemporaryDirectory() as folder:  # the quantiser reads and writes files
        given, prepared, quantised = (Path(folder) / name for name in ("given.onnx", "prepared.onnx", "quantised.onnx"))
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_optimization=True, skip_symbolic_shape=True)  # shapes only: no weight changes
        quantize_static(
            prepared,
            quantised,
            _Calibration(iter(images)),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[first.name],
            extra_options={"TensorQuantOverrides": {node.input[1]: [SEVEN_BITS] for node in dense}},
        )
        result = onnx.load(quantised)
    correct_biases(result, model, images)
    return result


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
    def __init__(self, images: Iterator[NDArray[np.uint8]]) -> None:
        self.images = images

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next input; None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT_NAME: image}
