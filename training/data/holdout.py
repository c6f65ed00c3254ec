"""Holds out a share of the images for validation where the data set has no validation split."""

import hashlib
from collections.abc import Iterable

VAL_NAMES = ("val", "validation", "valid")  # what people call a validation split
SHARE = 0.2  # of the images
AT_LEAST = 2  # images held out of 10 or more; 1 of fewer


def hold_out(stems: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Split stems into (train, val).

    The SHA-256 of a name decides its side: adding or removing photos later does not move any other photo to the other
    side. The number of photos matters only if fewer than AT_LEAST, or more than half, would be held out. Similar photos,
    such as frames of one video, can end up on both sides: in that case choose the images of `val/` by hand.
    """
    place = {stem: _fraction(stem) for stem in stems}
    ranked = sorted(place, key=lambda stem: (place[stem], stem))
    wanted = sum(fraction < SHARE for fraction in place.values())
    at_least = AT_LEAST if len(ranked) >= 10 else 1
    count = min(max(wanted, at_least), len(ranked) // 2)
    return frozenset(ranked[count:]), frozenset(ranked[:count])


def _fraction(stem: str) -> float:
    """A number in 0..1 that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(stem.encode()).digest()[:8], "big") / 2**64
