"""Colours for classes."""

from collections.abc import Collection, Iterator

BLACK = "#000000"  # see-through in overlays: a background's colour
# Okabe & Ito, "Color Universal Design" (2008), without black: told apart on a photo, and by colour-blind people.
OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def voc_color(voc_id: int) -> str:
    """#rrggbb of a VOC id (VOC development kit, VOClabelcolormap): the id's bits, dealt out to red, green and blue."""
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (voc_id >> bit & 1) << 7 - bit // 3
    return "#{:02x}{:02x}{:02x}".format(*channels)


def free_colors(taken: Collection[str]) -> Iterator[str]:
    """Colours that are not taken: first those that everybody can tell apart, then VOC's, light ones before dark ones."""
    voc = [voc_color(voc_id) for voc_id in range(1, 256)]
    light = [color for color in voc if any(channel >= 128 for channel in bytes.fromhex(color[1:]))]
    dark = [color for color in voc if color not in light]
    return (color for color in (*OKABE_ITO, *light, *dark) if color not in taken)
