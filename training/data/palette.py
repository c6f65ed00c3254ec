"""Colours for classes."""

from collections.abc import Collection, Iterator

from service.contract import voc_color

BLACK = "#000000"  # transparent in overlays: the colour of a background
# Okabe & Ito, "Color Universal Design" (2008), without black: distinct on a photo, also for colour-blind people.
OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def free_colors(taken: Collection[str]) -> Iterator[str]:
    """Colours that are not taken: first those that colour-blind people distinguish, then VOC's, light ones before dark ones."""
    voc = [voc_color(voc_id) for voc_id in range(1, 256)]
    light = [color for color in voc if any(channel >= 128 for channel in bytes.fromhex(color[1:]))]
    dark = [color for color in voc if color not in light]
    return (color for color in (*OKABE_ITO, *light, *dark) if color not in taken)
