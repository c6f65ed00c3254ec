"""Which format of an answer a client prefers (RFC 9110, section 12.5.1)."""

from service.results.renderings import Format

_READ = 4096  # characters of the header: far more than clients send, and 64 KB of commas took 80 ms on the event loop
_OFFERS: tuple[tuple[str, Format], ...] = (("application/json", "json"), ("image/png", "mask"))


def preferred_format(accept: str) -> Format:
    """The format that an Accept header gives the highest weight; JSON if it accepts neither format, or both alike."""
    best: tuple[float, Format] = (0.0, "json")
    for media_type, form in _OFFERS:
        quality = _quality(media_type, accept[:_READ])
        if quality > best[0]:
            best = quality, form
    return best[1]


def _quality(media_type: str, accept: str) -> float:
    """Weight 0..1 of a media type; of several ranges that match, the most specific one counts."""
    general = (media_type, media_type.split("/", 1)[0] + "/*", "*/*")
    matches: list[tuple[int, float]] = []
    for entry in accept.split(","):
        value, *parameters = (part.strip().lower() for part in entry.split(";"))
        if value in general:
            weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
            matches.append((-general.index(value), _number(weights[0]) if weights else 1.0))
    return max(matches)[1] if matches else 0.0


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
