"""Static int8 quantisation (Jacob et al., 2018, arXiv:1712.05877): weights per channel, activations by calibration.

What each part is worth, in points of mean IoU that animals-fcn8s-lite0 loses on voc-animals val: weights of eight bits
everywhere 4.4 (on AVX2), seven bits everywhere 2.3, seven bits but for depthwise 0.9, first convolution in fp32 as well
0.8, biases corrected as well 0.05. All were measured on an AVX2 processor; on one with VNNI the last loses 0.34 (its card).
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
# Without VNNI, x86 adds two products of uint8 and int8 in 16 bits, and cuts off what does not fit: with weights of -64..64
# all does. Depthwise convolutions multiply one by one: they keep all eight bits, and need them.
SEVEN_BITS = {"axis": 0, "reduce_range": True}


def calibration_images(reader: Reader, card: ModelCard) -> Images:
    """Images of a split, each (1, H, W, 3) uint8, prepared for the model of that card as the service prepares them.

    Neighbours in a list are often alike (frames of a video, photos of one day): even steps see the whole of it.
    Raises InputError if there is none, or one cannot be read.
    """
    stems = at_even_steps(reader.stems(), CALIBRATION_IMAGES)
    if not stems:
        raise InputError("int8 is calibrated on training images, and there is none")
    images = (read_upright(reader, stem) for stem in stems)
    return [network_input(i, working_size(*i.size, card.long_side), card.stride, card.pad_value) for i in images]


def to_int8(model: ModelProto, images: Images) -> ModelProto:
    """The graph with every operator quantised that can be, its ranges being the extremes met on `images`.

    Input and output keep their types. Every type of operator: with ReLU6 outside the quantised range, because only
    convolutions and additions are inside, EfficientNet-Lite0 loses 12 points of mean IoU on CamVid. But the first
    convolution, whose few weights meet all the contrast of the image, stays fp32: it takes no time to speak of.
    """
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    dense = [node for node in model.graph.node if node.op_type == "Conv" and node != first and groups(node) == 1]
    with tempfile.TemporaryDirectory() as folder:  # the quantiser works from file to file
        given, prepared, quantised = (Path(folder) / name for name in ("given.onnx", "prepared.onnx", "quantised.onnx"))
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_optimization=True, skip_symbolic_shape=True)  # shapes alone: no weight changes
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
        """The next input, None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT_NAME: image}
