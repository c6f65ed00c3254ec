"""The FCN paper's own recipe (Shelhamer, Long & Darrell, 2017, arXiv:1605.06211, section 4.3), and a modern one beside it.

All figures are from the authors' solver.prototxt and net.py (fcn.berkeleyvision.org, voc-fcn32s, 16s, 8s and 8s-atonce):
one whole image per step, a loss summed over its pixels, momentum 0.99, a constant learning rate per stage, and twice that
rate for biases. Their 100,000 steps (300,000 at once) are 12 (35) epochs of SBD's 8,498 training images.

Each stage starts from the weights of the stage before: 32s from Caffe's VGG-16, 16s from 32s, and 8s from 16s. At once, 8s
starts from VGG-16:

    python -m training train paper-fcn32s-vgg16 --data sbd --out runs/32s [--init VGG_ILSVRC_16_layers.caffemodel]
    python -m training train paper-fcn16s-vgg16 --data sbd --out runs/16s --init runs/32s/best.safetensors
    python -m training train paper-fcn8s-vgg16 --data sbd --out runs/8s --init runs/16s/best.safetensors
    python -m training train paper-fcn8s-vgg16-atonce --data sbd --out runs/8s-atonce [--init VGG_ILSVRC_16_layers.caffemodel]
"""

from dataclasses import replace

from training.data.augment import Augmentation
from training.networks.vgg16 import CAFFE_NORMALISATION, TORCHVISION_NORMALISATION
from training.presets.preset import AdamW, Loss, MomentumSGD, Preset

FCN32S = Preset(
    name="paper-fcn32s-vgg16",
    architecture="fcn32s-vgg16-paper",
    dataset="sbd",
    long_side=None,
    pad_value=115,
    augmentation=Augmentation(crop=None, scale=(1.0, 1.0), flip=0.0, jitter=0.0),
    epochs=12,
    batch=1,
    optimizer=MomentumSGD(learning_rate=1e-10, momentum=0.99, weight_decay=0.0005),
    start="vgg16-caffe",
    normalisation=CAFFE_NORMALISATION,
    loss=Loss(reduction="sum"),
    schedule="constant",
)

FCN16S = replace(
    FCN32S,
    name="paper-fcn16s-vgg16",
    architecture="fcn16s-vgg16-paper",
    optimizer=MomentumSGD(learning_rate=1e-12, momentum=0.99, weight_decay=0.0005),
    start=FCN32S.name,
)

FCN8S = replace(
    FCN32S,
    name="paper-fcn8s-vgg16",
    architecture="fcn8s-vgg16-paper",
    optimizer=MomentumSGD(learning_rate=1e-14, momentum=0.99, weight_decay=0.0005),
    start=FCN16S.name,
)

FCN8S_AT_ONCE = replace(FCN32S, name="paper-fcn8s-vgg16-atonce", architecture="fcn8s-vgg16-paper-atonce", epochs=35)

MODERN = Preset(
    name="modern-fcn8s-vgg16",
    architecture="fcn8s-vgg16",
    dataset="sbd",
    long_side=512,
    pad_value=115,
    augmentation=Augmentation(crop=(320, 320)),
    epochs=12,
    batch=16,
    optimizer=AdamW(learning_rate=1e-4, head_learning_rate=1e-3, weight_decay=0.05),
    start="vgg16-torchvision",
    normalisation=TORCHVISION_NORMALISATION,
    warmup_epochs=0.5,
    averaging=0.998,
)

PAPER = (FCN32S, FCN16S, FCN8S, FCN8S_AT_ONCE, MODERN)
