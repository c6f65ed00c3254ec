"""What a recipe consists of."""

from dataclasses import dataclass
from typing import Literal

from training.data.augment import Augmentation
from training.networks.normalisation import Normalisation


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019, arXiv:1711.05101); none on biases and normalisation."""

    learning_rate: float  # of the pretrained backbone, at the peak of the schedule
    head_learning_rate: float  # of all other layers
    weight_decay: float
    method: Literal["adamw"] = "adamw"


@dataclass(frozen=True)
class MomentumSGD:
    """Stochastic gradient descent as Caffe's solver does it: biases at twice the rate and without decay."""

    learning_rate: float  # of every weight, at the peak of the schedule
    momentum: float
    weight_decay: float
    method: Literal["sgd"] = "sgd"


@dataclass(frozen=True)
class Loss:
    """Cross-entropy over the pixels that are not void, and a share of the Jaccard loss."""

    class_weights: Literal["none", "median-frequency", "log"] = "none"
    reduction: Literal["mean", "sum"] = "mean"  # of the cross-entropy, over the weighted pixels of a batch
    jaccard: float = 0.0  # weight of the soft Jaccard loss (`training.losses.jaccard_loss`) beside the cross-entropy's 1


@dataclass(frozen=True)
class Preset:
    """One recipe. On one CPU thread, two runs of one preset and seed on the same files give the same weights, bit for bit."""

    name: str
    architecture: str  # a key of `training.networks.NETWORKS`
    dataset: str  # a name that `training.data.find.find_dataset` knows
    long_side: int | None  # evaluation and service shrink larger images to it, pixels; null: they never do
    pad_value: int  # of what lies outside the image, 0..255; near the normalisation's mean
    augmentation: Augmentation
    epochs: int
    batch: int  # crops per step
    optimizer: AdamW | MomentumSGD
    start: str  # where its weights come from: a key of `training.start.SOURCES`, or the preset that it continues
    normalisation: Normalisation = Normalisation()
    loss: Loss = Loss()
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 0.0  # linear rise to the peak; the schedule follows
    averaging: float = 0.0  # decay per step of the moving average of the weights, which is what is shipped; 0: the last weights
    clip_norm: float | None = None  # longest gradient that a step follows
    patience: int | None = None  # epochs without a better model after which a run stops; null: it never does
    frozen_stride: int = 0  # backbone layers at this stride or finer keep the weights they start with; 0: none do
    seed: int = 0
    title: str = ""  # what a report calls its runs; empty: its name
