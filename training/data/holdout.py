"""A share of the images kept back for validation, where nobody chose one."""

import hashlib
from collections.abc import Iterable

SHARE = 0.2  # of the images
AT_LEAST = 2  # images, from 10 on; 1 below


def hold_out(stems: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Split stems into (train, val).

    Each name decides for itself, by its SHA-256: photos that are added or removed later move no other photo from one
    side to the other. Only while fewer than AT_LEAST would be held out (or more than half) does their number matter.
    Similar photos, such as frames of one video, can come to lie on both sides: then choose `val/` by hand.
    """
    place = {stem: _fraction(stem) for stem in stems}
    ranked = sorted(place, key=lambda stem: (place[stem], stem))
    wanted = sum(fraction < SHARE for fraction in place.values())
    at_least = AT_LEAST if len(ranked) >= 10 else 1
    count = min(max(wanted, at_least), len(ranked) // 2)
    return frozenset(ranked[count:]), frozenset(ranked[:count])


def _fraction(stem: str) -> float:
    """A number in 0..1 that only the name decides."""
    return int.from_bytes(hashlib.sha256(stem.encode()).digest()[:8], "big") / 2**64
