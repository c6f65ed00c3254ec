"""How to cut a network for images too large to run whole: into parts that run tile by tile, one part after another.

Tiled as a whole, a network pays for its receptive field: with a halo of 480 px around a core of 1024 px, 3.6 times the
work. But most of that field comes from its deep layers, and most of its memory goes to its shallow ones. So it is cut where
little has to be kept between two parts, and each part has a halo of its own reach, and tiles as large as its memory allows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from math import isqrt

from service.contract import Halo
from service.inference.layers import Layer, Layers, Tensor

KEPT_BYTES = 288 << 20  # what is kept between parts, for the whole image
MOST_CUTS = 2


@dataclass(frozen=True)
class Part:
    """A piece of a network, and how it is tiled."""

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    halo: Halo
    core: int  # side of a tile without its halo, pixels
    operations: float  # multiply-accumulates per pixel of a tile

    @property
    def cost(self) -> float:
        """Multiply-accumulates per pixel of a large image, halos included."""
        return self.operations * ((self.core + self.halo.before + self.halo.after) / self.core) ** 2


def cut(layers: Layers, stride: int, pixels: int, run_bytes: int) -> tuple[Part, ...]:
    """The parts that cost least on an image of that many pixels, first to last, where a run may take `run_bytes`.

    Tiles begin and end at multiples of `stride` pixels.
    """
    count = len(layers.layers)
    live = [_live(layers, place) for place in range(count + 1)]
    kept = [_sum(tensors - {layers.image}) for tensors in live]  # the image is there anyway
    # Where the next layer needs more than the last one did: within a valley all places cost nearly the same.
    valleys = [place for place in range(1, count) if kept[place - 1] >= kept[place] < kept[place + 1]]

    @cache
    def part(start: int, end: int) -> Part:
        return _part(layers.layers[start:end], live[start], live[end], stride, run_bytes)

    def choices() -> Iterator[tuple[int, ...]]:
        for number in range(MOST_CUTS + 1):
            for cuts in combinations(valleys, number):
                both = [_sum((live[a] | live[b]) - {layers.image}) for a, b in pairwise(cuts)]  # a part's inputs and outputs
                if max([*(kept[place] for place in cuts), *both], default=0) * pixels <= KEPT_BYTES:
                    yield (0, *cuts, count)

    cheapest = min(choices(), key=lambda ends: sum(part(start, end).cost for start, end in pairwise(ends)))
    return tuple(part(start, end) for start, end in pairwise(cheapest))


def _live(layers: Layers, place: int) -> frozenset[Tensor]:
    """What the layers from `place` on need of those before, or leave behind."""
    before, after = layers.layers[:place], layers.layers[place:]
    made = {layers.image, *(layer.output for layer in before)}
    return frozenset(made & {layers.scores, *(tensor for layer in after for tensor in layer.inputs)})


def _sum(tensors: Iterable[Tensor]) -> float:
    """Bytes for each pixel of the image."""
    return sum(tensor.bytes_per_pixel for tensor in tensors)


def bytes_per_pixel(layers: Sequence[Layer]) -> float:
    """Bytes of activations for each pixel of an image that all of a network sees at once, at their peak."""
    return _peak(layers, frozenset({layers[-1].output}))


def core_side(activation_bytes: float, halo: Halo, stride: int, run_bytes: int) -> int:
    """Side of a tile without its halo, in pixels, for a network that takes so many bytes for each pixel of a tile."""
    field = halo.before + halo.after
    side = max(isqrt(int(run_bytes / activation_bytes)) - field, field // 2)  # more memory rather than ten times the work
    return max(stride, side // stride * stride)


def _part(layers: tuple[Layer, ...], given: frozenset[Tensor], left: frozenset[Tensor], stride: int, run_bytes: int) -> Part:
    inputs, outputs = given & {tensor for layer in layers for tensor in layer.inputs}, left - given
    before, after = _reach(layers, inputs, outputs)
    halo = Halo(before=-(-before // stride) * stride, after=-(-after // stride) * stride)
    return Part(
        layers,
        tuple(sorted(inputs, key=lambda tensor: tensor.name)),
        tuple(sorted(outputs, key=lambda tensor: tensor.name)),
        halo,
        core_side(_peak(layers, outputs), halo, stride, run_bytes),
        sum(layer.operations for layer in layers),
    )


def _reach(layers: tuple[Layer, ...], inputs: frozenset[Tensor], outputs: frozenset[Tensor]) -> tuple[int, int]:
    """Pixels before and after a block of the outputs that can change it."""
    reach = dict.fromkeys(outputs, (0, 0))
    for layer in reversed(layers):
        if layer.output in reach:
            before, after = layer.reach(*reach[layer.output])
            for tensor in layer.inputs:
                known = reach.get(tensor, (0, 0))
                reach[tensor] = max(before, known[0]), max(after, known[1])
    return max(reach[tensor][0] for tensor in inputs), max(reach[tensor][1] for tensor in inputs)


def _peak(layers: Sequence[Layer], outputs: frozenset[Tensor]) -> float:
    """Bytes per pixel of all tensors that are needed at once, when each is freed after its last use."""
    last_use = {tensor: place for place, layer in enumerate(layers) for tensor in layer.inputs}
    made = {layer.output for layer in layers}
    live, peak = set(last_use) - made, 0.0
    for place, layer in enumerate(layers):
        dying = {tensor for tensor in layer.inputs if last_use[tensor] == place} - outputs
        in_place = layer.operations == 0 and any(tensor.bytes_per_pixel >= layer.output.bytes_per_pixel for tensor in dying)
        peak = max(peak, _sum(live | (set() if in_place else {layer.output})))
        live = (live | {layer.output}) - dying
    return peak
