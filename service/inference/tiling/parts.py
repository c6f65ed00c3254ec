"""Cutting a network into parts that run tile by tile, for images that are too large to run whole.

Tiled as one part, a network pays for its receptive field: with a halo of 480 px around a core of 1024 px, 3.6 times the
work. But most of the receptive field comes from the deep layers, and most of the memory goes to the shallow layers. So the
network is cut where little has to be kept between two parts. Each part has a halo for its own reach only, and tiles as large
as its memory allows. Between parts, only the rows still needed are kept (`tiles`): the lower the tiles, the fewer rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from math import isqrt

from service.contract import Halo
from service.inference.tiling.layers import Layer, Layers, Tensor

KEPT_BYTES = 224 << 20  # limit for the tensors kept between parts
SCORES_BYTES = 96 << 20  # limit for the scores of a row of tiles
MAX_CUTS = 2
NEAR = 4  # layers; a cut is tried only where no other place this near keeps less
CORE_ROWS = (1 << 20, 2048, 1024, 512, 256)  # tile heights that are tried, in pixels, without halo


@dataclass(frozen=True)
class Part:
    """A part of a network: consecutive layers that are run together on each tile."""

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    halo: Halo
    bytes_per_pixel: float  # peak of its activations, per pixel of the image
    operations: float  # multiply-accumulates per pixel

    @property
    def field(self) -> int:
        """Pixels that a tile's halo adds to its width, and to its height."""
        return self.halo.before + self.halo.after


@dataclass(frozen=True)
class TiledPart:
    """A part, and the size of its tiles without their halo, in pixels."""

    part: Part
    width: int
    height: int

    @classmethod
    def of(cls, part: Part, stride: int, run_bytes: int, most_rows: int) -> "TiledPart":
        """The largest tiles, in multiples of `stride`, whose run takes about `run_bytes`, with at most `most_rows` rows."""
        area = run_bytes / part.bytes_per_pixel
        side = max(isqrt(int(area)) - part.field, part.field // 2)  # rather more memory than ten times the work
        height = _multiple(min(side, most_rows), stride)
        width = _multiple(max(side, int(area / (height + part.field)) - part.field), stride)
        return cls(part, width, height)

    @classmethod
    def last(cls, part: Part, stride: int, run_bytes: int, most_rows: int, across: int) -> "TiledPart":
        """As `of`, with tiles so low that the scores of a row of tiles, `across` pixels wide, fit into SCORES_BYTES."""
        rows = max(int(SCORES_BYTES / (_sum(part.outputs) * across)), part.field // 2)
        return cls.of(part, stride, run_bytes, min(most_rows, rows))

    @property
    def cost(self) -> float:
        """Multiply-accumulates per pixel of a large image, halos included."""
        return self.part.operations * (1 + self.part.field / self.width) * (1 + self.part.field / self.height)


def cut(layers: Layers, stride: int, size: tuple[int, int], run_bytes: int) -> tuple[TiledPart, ...]:
    """The parts, first to last, that cost least on an image of padded size `size` (width, height).

    By estimate, a run takes about `run_bytes` at most, and the tensors kept between parts at most KEPT_BYTES.
    """
    count = len(layers.layers)
    live = [_live(layers, index) for index in range(count + 1)]
    kept = [_sum(tensors - {layers.image}) for tensors in live]  # the image is in memory anyway
    # Only the cheapest place of each neighbourhood: its neighbours are no better, and trying all pairs would take seconds.
    valleys = [index for index in range(1, count) if kept[index] == min(kept[max(1, index - NEAR) : index + NEAR + 1])]
    least_rows = min(size[1], CORE_ROWS[-1])
    indices = [index for index in valleys if kept[index] * size[0] * least_rows <= KEPT_BYTES]

    @cache
    def part(start: int, end: int) -> Part:
        return _part(layers.layers[start:end], live[start], live[end], stride)

    def choices() -> Iterator[tuple[TiledPart, ...]]:
        for number in range(MAX_CUTS + 1):
            for cuts in combinations(indices, number):
                pieces = [part(start, end) for start, end in pairwise((0, *cuts, count))]
                for most_rows in CORE_ROWS:
                    tiled = (
                        *(TiledPart.of(piece, stride, run_bytes, most_rows) for piece in pieces[:-1]),
                        TiledPart.last(pieces[-1], stride, run_bytes, most_rows, size[0]),
                    )
                    if _kept_bytes(tiled, size) <= KEPT_BYTES:
                        yield tiled
                        break  # lower tiles only cost more

    return min(choices(), key=lambda tiled: sum(one.cost for one in tiled))


def _kept_bytes(tiled: Sequence[TiledPart], size: tuple[int, int]) -> float:
    """Upper limit of the bytes kept for later parts: rows from the first one that a later part needs to the last one made."""
    total = 0.0
    for index, maker in enumerate(tiled[:-1]):
        for tensor in maker.part.outputs:
            users = [number for number, later in enumerate(tiled) if tensor in later.part.inputs]
            ahead = [sum(one.height + one.part.halo.after for one in tiled[index + 1 : user]) for user in users]
            rows = [tiled[user].height + tiled[user].part.field + more for user, more in zip(users, ahead, strict=True)]
            total += tensor.bytes_per_pixel * size[0] * min(size[1], maker.height + max(rows))
    return total


def _live(layers: Layers, index: int) -> frozenset[Tensor]:
    """The tensors made before layer `index` that are still needed: by layers from `index` on, or as the scores."""
    before, after = layers.layers[:index], layers.layers[index:]
    made = {layers.image, *(layer.output for layer in before)}
    return frozenset(made & {layers.scores, *(tensor for layer in after for tensor in layer.inputs)})


def _sum(tensors: Iterable[Tensor]) -> float:
    """Bytes of all tensors for each pixel of the image."""
    return sum(tensor.bytes_per_pixel for tensor in tensors)


def _multiple(length: int, stride: int) -> int:
    return max(stride, length // stride * stride)


def _part(layers: tuple[Layer, ...], given: frozenset[Tensor], left: frozenset[Tensor], stride: int) -> Part:
    inputs, outputs = given & {tensor for layer in layers for tensor in layer.inputs}, left - given
    before, after = _reach(layers, inputs, outputs)
    return Part(
        layers,
        tuple(sorted(inputs, key=lambda tensor: tensor.name)),
        tuple(sorted(outputs, key=lambda tensor: tensor.name)),
        Halo(before=-(-before // stride) * stride, after=-(-after // stride) * stride),
        peak_bytes_per_pixel(layers, outputs),
        sum(layer.operations for layer in layers),
    )


def _reach(layers: tuple[Layer, ...], inputs: frozenset[Tensor], outputs: frozenset[Tensor]) -> tuple[int, int]:
    """Pixels of the inputs before and after a block that can change the outputs in that block."""
    reach = dict.fromkeys(outputs, (0, 0))
    for layer in reversed(layers):
        if layer.output in reach:
            before, after = layer.reach(*reach[layer.output])
            for tensor in layer.inputs:
                known = reach.get(tensor, (0, 0))
                reach[tensor] = max(before, known[0]), max(after, known[1])
    return max(reach[tensor][0] for tensor in inputs), max(reach[tensor][1] for tensor in inputs)


def peak_bytes_per_pixel(layers: Sequence[Layer], outputs: frozenset[Tensor]) -> float:
    """Peak bytes, per pixel of the image, of all tensors in memory at once, if each is freed after its last use."""
    last_use = {tensor: index for index, layer in enumerate(layers) for tensor in layer.inputs}
    made = {layer.output for layer in layers}
    live, peak = set(last_use) - made, 0.0
    for index, layer in enumerate(layers):
        dying = {tensor for tensor in layer.inputs if last_use[tensor] == index} - outputs
        in_place = layer.operations == 0 and any(tensor.bytes_per_pixel >= layer.output.bytes_per_pixel for tensor in dying)
        peak = max(peak, _sum(live | (set() if in_place else {layer.output})))
        live = (live | {layer.output}) - dying
    return peak
