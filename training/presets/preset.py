"""The settings of a recipe: optimiser, loss, augmentation, schedule and network."""

from dataclasses import dataclass
from typing import Literal

from training.data.augment import Augmentation
from training.networks.normalisation import Normalisation


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019, arXiv:1711.05101), not for biases and normalisation."""

    learning_rate: float  # of the pretrained backbone, at the peak of the schedule
    head_learning_rate: float  # of all other layers
    weight_decay: float
    method: Literal["adamw"] = "adamw"


@dataclass(frozen=True)
class MomentumSGD:
    """Stochastic gradient descent as Caffe's solver does it: biases at twice the learning rate and without weight decay."""

    learning_rate: float  # of every weight, at the peak of the schedule
    momentum: float
    weight_decay: float
    method: Literal["sgd"] = "sgd"


@dataclass(frozen=True)
class Loss:
    """Cross-entropy over the pixels that are not void, plus a weighted Jaccard loss."""

    class_weights: Literal["none", "median-frequency", "log"] = "none"
    reduction: Literal["mean", "sum"] = "mean"  # of the cross-entropy, over a batch's weighted pixels
    jaccard: float = 0.0  # weight of the soft Jaccard loss (`training.losses.jaccard_loss`) beside the cross-entropy's 1


@dataclass(frozen=True)
class Preset:
    """One recipe. On one CPU thread, two runs of the same preset on the same files give the same weights, bit for bit."""

    name: str
    architecture: str  # a key of `training.networks.NETWORKS`
    dataset: str  # a name that `training.data.find.find_dataset` knows
    long_side: int | None  # pixels; evaluation and service shrink larger images to this; None: never
    pad_value: int  # pixel value outside the image, 0..255; near the normalisation's mean
    augmentation: Augmentation
    epochs: int
    batch: int  # crops per step
    optimizer: AdamW | MomentumSGD
    start: str  # first weights: "scratch", a key of `training.start.SOURCES`, or the preset to continue
    normalisation: Normalisation = Normalisation()
    loss: Loss = Loss()
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 0.0  # linear rise to the peak learning rate, before the schedule
    averaging: float = 0.0  # decay per step of the weights' moving average, which is exported; 0: the last weights
    clip_norm: float | None = None  # largest norm of the gradient; longer ones are scaled down
    patience: int | None = None  # epochs without a better model after which a run stops; None: never
    frozen_stride: int = 0  # backbone layers at this stride or finer keep the weights they start with; 0: none do
    seed: int = 0
    title: str = ""  # name of the runs in a report; empty: the preset's name
