"""Networks by architecture name. To add one: a file, and a line here."""

from collections.abc import Callable

from training.networks.efficientnet_lite import EfficientNetLite
from training.networks.fcn import FCN


def _lite(variant: str, output_stride: int) -> Callable[[int], FCN]:
    return lambda classes: FCN(EfficientNetLite(variant), classes, output_stride)


NETWORKS: dict[str, Callable[[int], FCN]] = {  # name -> network for a number of classes, randomly initialised
    f"fcn{stride}s-{variant}": _lite(variant, stride) for variant in ("lite0", "lite1", "lite2") for stride in (32, 16, 8)
}
