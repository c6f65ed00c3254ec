"""The model card: what a model file states about itself, as JSON under the ONNX metadata key `segmentation`.

`training.export` writes the card, and the service reads it; to serve such a model, no other file is needed.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

METADATA_KEY = "segmentation"
MODEL_NAME_PATTERN = r"^[a-z0-9][a-z0-9-]*$"
INPUT_NAME = "image"  # uint8 (N, H, W, 3), RGB, H and W multiples of the card's stride
OUTPUT_NAME = "scores"  # float32 (N, C, H / output_stride, W / output_stride)
GMAC_SIZE = 480, 352  # (width, height) of the image for which a card states `gmac`
MAX_PARAMETERS = 1 << 53  # up to this number, clients that read JSON numbers as doubles read each one exactly

Precision = Literal["fp32", "fp16", "int8"]
VARIANTS: tuple[Precision, ...] = ("int8", "fp16")  # smaller files made from the fp32 one
Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$", to_lower=True)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def voc_color(voc_id: int) -> str:
    """Colour #rrggbb of a VOC class id (VOC development kit, VOClabelcolormap): its bits, spread over the three channels."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (voc_id >> bit & 1) << 7 - bit // 3
    return "#{:02x}{:02x}{:02x}".format(*channels)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)  # unknown keys, such as those of a later version, are ignored


class ClassInfo(_Frozen):
    """One class of a model; its id is its channel in the scores and its value in the mask."""

    id: int = Field(ge=0, le=254)
    name: str = Field(min_length=1)
    color: Color

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, each 0..255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


class Halo(_Frozen):
    """How many pixels before and after an output cell's own input block can change its score: multiples of the stride."""

    before: int = Field(ge=0)
    after: int = Field(ge=0)


class SplitMetrics(_Frozen):
    """Accuracy on one labelled split; every figure is in 0..1, as `service.metrics` defines it."""

    split: str
    images: int = Field(ge=1)
    definition: str
    mean_iou: Fraction
    weighted_iou: Fraction
    pixel_accuracy: Fraction
    mean_class_accuracy: Fraction
    iou: dict[str, Fraction | None] = Field(description="by class name; null where neither truth nor estimate has it")


class EmptyScene(_Frozen):
    """How many pixels the model assigns to classes that the images do not contain."""

    images: str = Field(description="which images, and how many")
    classes: list[str] = Field(description="classes that none of the images holds")
    fraction: Fraction = Field(description="share of all pixels given one of those classes")
    worst_image_fraction: Fraction


class Latency(_Frozen):
    """Time of the network alone, from pixels at its input size to scores: decoding, resizing and labelling are not counted.

    The median of many runs, one image at a time.
    """

    milliseconds: float = Field(gt=0)
    width: int = Field(ge=1, description="of the image, pixels")
    height: int = Field(ge=1)
    provider: str = Field(description="execution provider of ONNX Runtime, by the session's own word")
    threads: int = Field(ge=1)
    processor: str


class Comparison(_Frozen):
    """Accuracy and latency of a variant relative to the fp32 file: same images, same machine, same run."""

    fp32_mean_iou: Fraction = Field(description="of the first of the metrics' splits")
    lost_points: float = Field(description="hundredths of mean IoU below fp32; negative: it is above")
    fp32_milliseconds: float = Field(gt=0, description="measured by turns with the variant's latency")
    latency_ratio: float = Field(gt=0, description="fp32's latency over the variant's; above 1: the variant is faster")


class ModelCard(_Frozen):
    """Everything a client or the service needs to know about a model."""

    name: str = Field(pattern=MODEL_NAME_PATTERN)
    architecture: str
    classes: tuple[ClassInfo, ...] = Field(min_length=1, max_length=255)
    stride: int = Field(ge=1, le=1024, description="height and width of the input are multiples of it")
    output_stride: int = Field(ge=1, description="input pixels per score, along each axis")
    halo: Halo | None = Field(None, description="null: the model cannot be tiled")
    long_side: int | None = Field(None, ge=1, description="larger images are shrunk to it; null: native size")
    pad_value: int = Field(ge=0, le=255)
    precision: Precision
    latency: Latency | None = Field(None, description="null: not measured")
    compared: Comparison | None = Field(None, description="of a variant; null for fp32")
    dataset: str
    licence: str
    metrics: list[SplitMetrics]
    empty_scenes: list[EmptyScene] = []
    limits: tuple[str, ...] = Field((), description="what it cannot be expected to do, a sentence each")
    preset: str
    recipe: str = Field("", description="how it was trained, as Markdown; empty: not recorded")
    training_commit: str
    parameters: int = Field(ge=0, le=MAX_PARAMETERS)
    gmac: float = Field(ge=0, description=f"10^9 multiply-accumulates for one {GMAC_SIZE[0]}x{GMAC_SIZE[1]} image")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if [entry.id for entry in self.classes] != list(range(len(self.classes))):
            raise ValueError("class ids must be 0, 1, 2, ... in order")
        if len({entry.name for entry in self.classes}) != len(self.classes):
            raise ValueError("class names must differ")
        if self.stride % self.output_stride:
            raise ValueError("stride must be a multiple of output_stride")
        if self.halo is not None and (self.halo.before % self.stride or self.halo.after % self.stride):
            raise ValueError("halo must be multiples of stride")
        return self
