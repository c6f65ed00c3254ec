"""Model files of other exporters: a card beside the file, `<name>.json`, describes the graph's input and output."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.contract import MODEL_NAME_PATTERN, ClassInfo, ModelCard, Precision, voc_color
from service.inference.files.interface import Interface
from service.inference.files.onnx_file import OnnxFile

Layout = Literal["NCHW", "NHWC"]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Strict):
    """The graph's input: (value / 255 - mean) / std for each channel; with dtype uint8, the values 0..255 unchanged."""

    name: str
    layout: Layout = "NCHW"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)


class Output(_Strict):
    """The graph's output that holds the class scores."""

    name: str
    layout: Layout = "NCHW"


class ForeignCard(_Strict):
    """The content of the card file beside the model file."""

    name: str = Field(pattern=MODEL_NAME_PATTERN)
    input: Input
    output: Output
    classes: tuple[str | ClassInfo, ...] = Field(min_length=1, max_length=255, description="in id order; names get colours")
    stride: int | None = Field(
        None, ge=1, le=1024, description="height and width are multiples of it; null: 32; of a graph of one size, output_stride"
    )
    output_stride: int = Field(1, ge=1, description="input pixels per score, along each axis")
    long_side: int | None = Field(None, ge=1, description="larger images are shrunk to it; null: native, or a graph's one size")
    pad_value: int = Field(127, ge=0, le=255)
    precision: Precision = "fp32"
    architecture: str = "unknown"
    dataset: str = "unknown"
    licence: str = "unknown"

    def card(self, file: OnnxFile, fixed_size: tuple[int, int] | None) -> ModelCard:
        """Convert to the `ModelCard` that this project's own models have; without a halo, so the model is never tiled.

        `fixed_size`: (width, height) in pixels, if the graph takes only that size. Raises ValueError if a side of it is not a
        multiple of the stride (of `output_stride` if the card gives no stride), or if `ModelCard` rejects a value.
        """
        stride, long_side = self.stride or 32, self.long_side
        if fixed_size is not None:
            width, height = fixed_size
            stride, long_side = self.stride or self.output_stride, min(self.long_side or max(fixed_size), max(fixed_size))
            if width % stride or height % stride:
                entry = "stride" if self.stride else "output_stride"
                raise ValueError(f"the graph takes {width}x{height} alone, no multiple of {entry} {stride}")
        return ModelCard(
            name=self.name,
            architecture=self.architecture,
            classes=tuple(
                entry if isinstance(entry, ClassInfo) else ClassInfo(id=number, name=entry, color=voc_color(number))
                for number, entry in enumerate(self.classes)
            ),
            stride=stride,
            output_stride=self.output_stride,
            halo=None,
            long_side=long_side,
            pad_value=self.pad_value,
            precision=self.precision,
            dataset=self.dataset,
            licence=self.licence,
            metrics=[],
            preset="none",
            training_commit="unknown",
            parameters=file.parameters,
            gmac=0.0,
        )


class ForeignInterface(Interface):
    """The interface of a foreign card: the input's layout, dtype, channel order and normalisation, and the output's layout."""

    def __init__(self, card: ForeignCard, graph: OnnxFile) -> None:
        """Raises ValueError if the graph has no such 4-D input, or fixes a batch above 1 or only one of height and width."""
        dimensions = graph.input_sizes.get(card.input.name, ())
        if len(dimensions) != 4:
            raise ValueError(f"the graph has no input {card.input.name!r} of four dimensions")
        height, width = dimensions[2:] if card.input.layout == "NCHW" else dimensions[1:3]
        if dimensions[0] > 1:
            raise ValueError(f"the graph takes {dimensions[0]} images at once: export it with a batch of 1, or a free one")
        if bool(height) != bool(width):
            fixed = "height" if height else "width"
            raise ValueError(f"the graph fixes its {fixed} alone: export it with height and width both fixed, or both free")
        if height:
            self.fixed_size = width, height
        self.input_name, self.output_name = card.input.name, card.output.name
        self._input, self._output = card.input, card.output
        mean, std = (np.array(values, np.float32) for values in (card.input.mean, card.input.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        ordered = pixels if self._input.channels == "RGB" else pixels[..., ::-1]
        given: NDArray[np.generic] = ordered
        if self._input.dtype != "uint8":
            given = (ordered * self._scale + self._shift).astype(self._input.dtype)
        return np.ascontiguousarray(given.transpose(0, 3, 1, 2) if self._input.layout == "NCHW" else given)

    def given_shape(self, count: int, classes: int, height: int, width: int) -> tuple[int, int, int, int]:
        return (count, height, width, classes) if self._output.layout == "NHWC" else (count, classes, height, width)

    def restore(self, scores: NDArray[np.generic]) -> NDArray[np.float32]:
        planes = scores.transpose(0, 3, 1, 2) if self._output.layout == "NHWC" else scores
        return np.ascontiguousarray(planes, np.float32)
