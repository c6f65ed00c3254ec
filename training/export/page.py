"""Writes a model card as a page for people: `<name>.md` with a panel of pictures, from the .onnx files and their data."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.contract import VARIANTS, EmptyScene, Latency, ModelCard, SplitMetrics
from training.data.reader import Reader
from training.errors import InputError
from training.evaluate import Segmenter
from training.export.files import load_fp32, model_file
from training.files import write_atomically
from training.onnx_model import load_onnx
from training.pictures.panel import encoded, panel
from training.spread import at_even_steps
from training.survey import examine, rank
from training.wording import counted

WORST, SPREAD = 8, 12  # images of the panel


def write_page(path: Path, reader: Reader, split: str, data: str) -> Path:
    """Write `<name>.md` and `<name>.jpg` beside the fp32 model file at `path`; returns the page's path.

    The pictures come from `reader`, which reads the split called `split`; `data` is the text of the data options in the
    page's commands. The table of files includes the variants beside `path`. Raises InputError if `path` is a variant, or if
    all pixels of the split are void.
    """
    model = load_fp32(path)
    variants = [file for precision in VARIANTS if (file := model_file(path.parent, path.stem, precision)).exists()]
    cards = {path: model.card, **{file: load_onnx(file).card for file in variants}}
    segmenter, classes = model.segmenter, model.card.classes
    chosen = choose_examples(segmenter, reader, len(classes))
    examples = (examine(segmenter, reader, stem, len(classes)) for stem in chosen)
    write_atomically(path.with_suffix(".jpg"), encoded(panel(examples, classes), "JPEG"))
    page = path.with_suffix(".md")
    write_atomically(page, page_text(path, cards, split, data, len(chosen)).encode())
    return page


def choose_examples(segmenter: Segmenter, reader: Reader, classes: int) -> list[str]:
    """Names of the WORST images by mean IoU of the image, then SPREAD others at even steps from bad to good.

    Raises InputError if all pixels of all images are void.
    """
    ranked = rank(segmenter, reader, classes)
    if not ranked:
        raise InputError("the split has no labelled pixel to show anything on")
    return [*ranked[:WORST], *at_even_steps(ranked[WORST:], SPREAD)]


def page_text(model: Path, cards: Mapping[Path, ModelCard], split: str, data: str, shown: int) -> str:
    """Markdown about the file `model`, one of `cards`, with a panel of `shown` pictures; every figure is a card's.

    `split` and `data` are as for `write_page`.
    """
    card = cards[model]
    names = ", ".join(_literal(entry.name) for entry in card.classes)
    shrunk = f"larger images are shrunk to a long side of {card.long_side} px"
    size = shrunk if card.long_side else "every image is taken at its own size"
    halo = f"{card.halo.before} px before and {card.halo.after} px after" if card.halo else "unbounded: cannot be tiled"
    sections = [
        f"# {card.name}",
        f"Labels every pixel of a photo as one of {len(card.classes)} classes: {names}.",
        _table(
            ("", ""),
            [
                ("architecture", f"{card.architecture}, {card.parameters / 1e6:.2f} M parameters"),
                ("cost", f"{card.gmac:.2f} GMAC for one 480x352 image"),
                ("input", f"RGB; {size}, padded to multiples of {card.stride}"),
                ("output", f"one score per class for every {card.output_stride}x{card.output_stride} input pixels"),
                ("halo", halo),
                ("data", _literal(card.dataset)),
                ("licence", _literal(card.licence)),
            ],
        ),
        "## How good it is",
        *(_split_section(metrics, model, data) for metrics in card.metrics),
        "## Files",
        _files(cards),
        "## What it sees where there is nothing",
        *([_scenes(card.empty_scenes)] if card.empty_scenes else ["Not measured."]),
        "## Pictures",
        _caption(split, shown),
        f"![image, truth and estimate of {counted(shown, 'image')}]({model.stem}.jpg)",
        "## How it was trained",
        card.recipe,
        *(["## Limits", "\n".join(f"- {limit}" for limit in card.limits)] if card.limits else []),
    ]
    return "\n\n".join(sections) + "\n"


def _caption(split: str, shown: int) -> str:
    rest = f"then {shown - WORST} at even steps from bad to good" if shown > WORST else "the worst one first"
    worst = f"The {min(shown, WORST)} worst images of the {split} split by their own mean IoU"
    return f"{worst}, {rest}. White is void: not counted."


def _split_section(metrics: SplitMetrics, model: Path, data: str) -> str:
    file = model.name if model.is_absolute() else model  # an absolute path means nothing on another machine
    classes = [(_literal(name), "absent" if iou is None else f"{iou:.1%}") for name, iou in metrics.iou.items()]
    overall = [
        ("**mean IoU**", f"**{metrics.mean_iou:.1%}**"),
        ("frequency-weighted IoU", f"{metrics.weighted_iou:.1%}"),
        ("pixel accuracy", f"{metrics.pixel_accuracy:.1%}"),
        ("mean class accuracy", f"{metrics.mean_class_accuracy:.1%}"),
    ]
    return "\n\n".join(
        [
            f"On the {metrics.split} split, {counted(metrics.images, 'image')}. {metrics.definition}",
            _table(("class", "IoU"), classes),
            _table(("all classes", ""), overall),
            f"Measured on this file by `.venv/bin/python -m training evaluate {file} {data} --split {metrics.split}`.",
        ]
    )


def _files(cards: Mapping[Path, ModelCard]) -> str:
    table = _table(("file", "size", "mean IoU", "latency", "against fp32"), [file_row(*entry) for entry in cards.items()])
    notes = sorted({_conditions(card.latency) for card in cards.values() if card.latency})
    if any(card.precision == "fp16" for card in cards.values()):
        notes.append("fp16 is for graphics cards: a CPU turns it back into fp32 as it goes.")
    return "\n\n".join([table, *notes])


def file_row(file: Path, card: ModelCard) -> tuple[str, str, str, str, str]:
    """The row of one model file: name, size, mean IoU, latency, and what it loses and gains against fp32."""
    iou = ", ".join(f"{metrics.mean_iou:.1%} on {metrics.split}" for metrics in card.metrics) or "not measured"
    latency = f"{card.latency.milliseconds:.1f} ms" if card.latency else "not measured"
    return f"`{file.name}`", f"{file.stat().st_size / 1e6:.1f} MB", iou, latency, _price(card)


def _price(card: ModelCard) -> str:
    if card.compared is None:
        return ""
    lost, ratio, fp32 = card.compared.lost_points, card.compared.latency_ratio, card.compared.fp32_milliseconds
    return f"{abs(lost):.2f} points {'lost' if lost >= 0 else 'gained'}, {ratio:.2f} times as fast (fp32: {fp32:.1f} ms)"


def _conditions(latency: Latency) -> str:
    return (
        "Latency: the time of the network alone, from pixels at its input size to scores; decoding, resizing and labelling are "
        f"not counted. The median for one {latency.width}x{latency.height} image on {counted(latency.threads, 'thread')} "
        f"of an {latency.processor} ({latency.provider}); "
        "a variant and the fp32 file take turns."
    )


def _scenes(scenes: Sequence[EmptyScene]) -> str:
    rows = [
        (
            _literal(scene.images),
            ", ".join(_literal(name) for name in scene.classes),
            f"{scene.fraction:.2%}",
            f"{scene.worst_image_fraction:.2%}",
        )
        for scene in scenes
    ]
    return _table(("images", "classes that none of them holds", "of all pixels", "of the worst image's"), rows)


def _literal(name: str) -> str:
    """Markdown that shows somebody's name of a class or a folder as it is, also in a table; `_` within a word means nothing."""
    return re.sub(r"[\\`*\[\]<>&|~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", name)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
