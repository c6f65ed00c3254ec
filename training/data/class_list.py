"""The user's own classes: reads a class list, and decodes masks by its ids and colours.

A class list is a text file (UTF-8), one class per line, in id order from 0:

    # a line that begins with # is a comment
    background
    oak tree #009e73
    roof #d55e00
    void #ffffff

The last word of a line may be a colour, #rrggbb, which can stand nowhere else; colour masks need it. A class without a
colour gets a free one: black for a class called background, also in colour masks, else one of seven that colour-blind
people can tell apart, and others once these are used up. The name void stands for no class: it takes no id, and pixels of
its colour are ignored, as is the value 255 in grey masks.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.contract import ClassInfo
from service.metrics import VOID
from training.data.masks import RGB, VALUE_MODES, by_color, by_value
from training.data.palette import BLACK, free_colors
from training.errors import InputError

MAX_CLASSES = 255
VOID_NAME, BACKGROUND_NAME = "void", "background"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ClassList:
    """Classes in id order, and what the pixels of a mask stand for."""

    classes: tuple[ClassInfo, ...]
    painted: Mapping[RGB, int] = field(default_factory=dict)  # colours listed for classes and void -> id or VOID

    def decode(self, mask: Image.Image, name: str) -> NDArray[np.uint8]:
        """(H, W) uint8 class ids and VOID: the values of an indexed or grey mask, or the meanings of a mask's colours.

        Raises InputError for any other value or colour, and if the palette of an indexed mask contradicts its values.
        """
        if mask.mode not in VALUE_MODES:
            if not self.painted:
                raise InputError(
                    f"the class list gives no colours for the mask {name}: list them, or save it with ids as values"
                )
            # Not in `painted`: an indexed mask may show any id in black, which fills up a short palette.
            implied = {entry.rgb: entry.id for entry in self.classes if entry.color == BLACK}
            return by_color(mask, name, {**implied, **self.painted})
        labels = by_value(mask, name, {**{entry.id: entry.id for entry in self.classes}, VOID: VOID})
        if mask.mode == "P":
            self._check_palette(mask, name)
        return labels

    def _check_palette(self, mask: Image.Image, name: str) -> None:
        """Raises InputError if a value is shown in another class's colour: image editors may have renumbered the palette."""
        palette = mask.getpalette("RGB") or []
        for value in np.flatnonzero(mask.histogram()[:VOID]).tolist():
            red, green, blue = (*palette[3 * value : 3 * value + 3], 0, 0, 0)[:3]
            meant = self.painted.get((red, green, blue), value)
            if meant != value:
                raise InputError(
                    f"the mask {name} contradicts the class list: its value {value} is shown in "
                    f"#{red:02x}{green:02x}{blue:02x}, the colour of id {meant}; save it as RGB, or with ids as values"
                )


def read_class_list(path: Path) -> ClassList:
    """Read a class list. Raises an InputError that names the file and, where one is wrong, the line."""
    try:
        text = path.read_text("utf-8-sig")
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path} is no text file in UTF-8: expected one class per line") from error
    entries: list[tuple[str, str | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and _COLOR.fullmatch(words[0]):
            raise InputError(f"{path}, line {number}: the colour comes after the class's name")
        if not words or words[0].startswith("#"):
            continue
        color = words.pop().lower() if _COLOR.fullmatch(words[-1]) else None
        if misplaced := next((word for word in words if _COLOR.search(word)), None):
            raise InputError(f"{path}, line {number}: {misplaced}: #rrggbb must be the last word of the line, after a space")
        if words[-1].startswith("#"):
            raise InputError(f"{path}, line {number}: {words[-1]!r} is no colour; expected #rrggbb, such as #e69f00")
        entries.append((" ".join(words), color))
    return build_class_list(entries, str(path))


def build_class_list(entries: Sequence[tuple[str, str | None]], source: str) -> ClassList:
    """Classes from (name, #rrggbb or None) in id order, which may include void. Raises an InputError that names `source`."""
    named = [name for name, _ in entries if name != VOID_NAME]
    given = [color for _, color in entries if color is not None]
    for what, values in (("class", [name for name, _ in entries]), ("colour", given)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise InputError(f"{source}: the {what} {twice[0]} appears twice")
    if not 1 <= len(named) <= MAX_CLASSES:
        raise InputError(f"{source} lists {len(named)} classes; there can be 1 to {MAX_CLASSES}")
    if (VOID_NAME, None) in entries:
        raise InputError(f"{source}: void needs a colour; in grey masks 255 is void without being listed")
    free = free_colors(given)
    classes: list[ClassInfo] = []
    painted: dict[RGB, int] = {}
    for name, color in entries:
        class_id = VOID if name == VOID_NAME else len(classes)
        if color is not None:
            painted[_rgb(color)] = class_id
        if name != VOID_NAME:
            black = name == BACKGROUND_NAME and BLACK not in given
            classes.append(ClassInfo(id=class_id, name=name, color=color or (BLACK if black else next(free))))
    return ClassList(tuple(classes), painted)


def _rgb(color: str) -> RGB:
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue
