"""Image geometry, defined once for trainer, exporter and service (numpy and Pillow only).

An image is turned upright (`photo`), resized to its working size and padded to multiples of the network's stride (`sizes`). The
network's scores are enlarged bilinearly to the upright image's own size; only then are they compared to choose each pixel's
class (`scores`).
"""

from service.geometry.photo import (
    MAX_EXIF_BYTES,
    STRIP_PIXELS,
    UNSUPPORTED_MODES,
    Photo,
    UnsupportedPixels,
    drop_text,
    upright,
    upright_rgb,
)
from service.geometry.scores import Axis, enlarge, label_map, label_strip, places
from service.geometry.sizes import fitted, network_input, padded, padded_size, resized, working_size

__all__ = [
    "MAX_EXIF_BYTES",
    "STRIP_PIXELS",
    "UNSUPPORTED_MODES",
    "Axis",
    "Photo",
    "UnsupportedPixels",
    "drop_text",
    "enlarge",
    "fitted",
    "label_map",
    "label_strip",
    "network_input",
    "padded",
    "padded_size",
    "places",
    "resized",
    "upright",
    "upright_rgb",
    "working_size",
]
