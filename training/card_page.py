"""A model card as a page for people: `<name>.md` with a panel of pictures, from the .onnx file alone and its data."""

from collections.abc import Sequence
from pathlib import Path

from service.contract import EmptyScene, ModelCard, SplitMetrics
from training.data.reader import Reader
from training.evaluate import Segmenter
from training.onnx_model import OnnxModel
from training.pictures.panel import encoded, panel
from training.presets import PRESETS, find_preset
from training.presets.preset import AdamW, Preset
from training.run_folder import write_atomically
from training.survey import Example, examine, survey

WORST, SPREAD = 8, 12  # images of the panel


def write_page(path: Path, model: OnnxModel, reader: Reader, split: str) -> Path:
    """Write `<name>.md` and `<name>.jpg` beside the model file at `path`; returns the page's path.

    The pictures come from `reader`, the split called `split`. Raises InputError if the model is of no known preset.
    """
    chosen = choose_examples(model.segmenter, reader, len(model.card.classes))
    write_atomically(path.with_suffix(".jpg"), encoded(panel(chosen, model.card.classes), "JPEG"))
    page = path.with_suffix(".md")
    write_atomically(page, page_text(model.card, path, split).encode())
    return page


def choose_examples(segmenter: Segmenter, reader: Reader, classes: int) -> list[Example]:
    """The WORST images by their own mean IoU, then SPREAD others at even steps from bad to good."""
    ranked = survey(segmenter, reader, classes).ranked
    worst, rest = ranked[:WORST], ranked[WORST:]
    step = max(1.0, (len(rest) - 1) / (SPREAD - 1))
    spread = [rest[round(number * step)] for number in range(min(SPREAD, len(rest)))]
    return [examine(segmenter, reader, stem, classes) for stem in (*worst, *spread)]


def page_text(card: ModelCard, model: Path, split: str) -> str:
    """Markdown; every figure is the card's, every recipe value the preset's."""
    names = ", ".join(entry.name for entry in card.classes)
    size = f"shrunk to a long side of {card.long_side} px" if card.long_side else "taken at their own size"
    halo = f"{card.halo.before} px before and {card.halo.after} px after" if card.halo else "unbounded: cannot be tiled"
    sections = [
        f"# {card.name}",
        f"Labels every pixel of a photo as one of {len(card.classes)} classes: {names}.",
        _table(
            ("", ""),
            [
                ("architecture", f"{card.architecture}, {card.parameters / 1e6:.2f} M parameters"),
                ("cost", f"{card.gmac:.2f} GMAC for one 480x352 image"),
                ("input", f"RGB; larger images are {size}, padded to multiples of {card.stride}"),
                ("output", f"one score per class for every {card.output_stride}x{card.output_stride} input pixels"),
                ("halo", halo),
                ("precision", card.precision),
                ("data", card.dataset),
                ("licence", card.licence),
            ],
        ),
        "## How good it is",
        *(_split_section(metrics, model) for metrics in card.metrics),
        "## What it sees where there is nothing",
        *([_scenes(card.empty_scenes)] if card.empty_scenes else ["Not measured."]),
        "## Pictures",
        f"The {WORST} worst images of the {split} split by their own mean IoU, then {SPREAD} at even steps from bad to good. "
        "White is void: not counted.",
        f"![image, truth and estimate of {WORST + SPREAD} images]({model.stem}.jpg)",
        "## How it was trained",
        _recipe(card),
        "## Limits",
        "\n".join(f"- {limit}" for limit in card.limits),
    ]
    return "\n\n".join(sections) + "\n"


def _split_section(metrics: SplitMetrics, model: Path) -> str:
    classes = [(name, "absent" if iou is None else f"{iou:.1%}") for name, iou in metrics.iou.items()]
    overall = [
        ("**mean IoU**", f"**{metrics.mean_iou:.1%}**"),
        ("frequency-weighted IoU", f"{metrics.weighted_iou:.1%}"),
        ("pixel accuracy", f"{metrics.pixel_accuracy:.1%}"),
        ("mean class accuracy", f"{metrics.mean_class_accuracy:.1%}"),
    ]
    return "\n\n".join(
        [
            f"On the {metrics.split} split, {metrics.images} images. {metrics.definition}",
            _table(("class", "IoU"), classes),
            _table(("all classes", ""), overall),
            f"Measured on this file by `python -m training evaluate {model.name} --data DIR --split {metrics.split}`.",
        ]
    )


def _scenes(scenes: Sequence[EmptyScene]) -> str:
    rows = [
        (scene.images, ", ".join(scene.classes), f"{scene.fraction:.2%}", f"{scene.worst_image_fraction:.2%}")
        for scene in scenes
    ]
    return _table(("images", "classes that none of them holds", "of all pixels", "of the worst image's"), rows)


def _recipe(card: ModelCard) -> str:
    """One numbered step per preset, the first one first."""
    presets = [find_preset(card.preset)]
    while presets[0].start in PRESETS:
        presets.insert(0, find_preset(presets[0].start))
    steps = "\n".join(f"{number}. {_step(preset)}" for number, preset in enumerate(presets, 1))
    averages = " Shipped is the exponential moving average of the weights." if presets[-1].averaging else ""
    return (
        f"{steps}\n\nThe last step ran at commit `{card.training_commit[:12]}`.{averages} "
        "The epoch with the best validation mean IoU was kept."
    )


def _step(preset: Preset) -> str:
    how, optimizer, continues = preset.augmentation, preset.optimizer, preset.start in PRESETS
    init = f" --init runs/{preset.start}/best.safetensors" if continues else ""
    rates = (
        f"AdamW with weight decay {optimizer.weight_decay:g}, learning rate {optimizer.learning_rate:g} for the backbone and "
        f"{optimizer.head_learning_rate:g} for the other layers"
        if isinstance(optimizer, AdamW)
        else f"SGD with momentum {optimizer.momentum:g}, weight decay {optimizer.weight_decay:g}, learning rate "
        f"{optimizer.learning_rate:g} and twice that for biases"
    )
    schedule = "a cosine to zero" if preset.schedule == "cosine" else "a constant rate"
    return (
        f"`python -m training train {preset.name} --data DIR --out runs/{preset.name}{init}`: "
        f"from {'those' if continues else preset.start} weights, {preset.epochs} epochs of {preset.batch} crops of "
        f"{how.crop[0]}x{how.crop[1]} px a step (scaled {how.scale[0]:g} to {how.scale[1]:g} times, mirrored, brightness, "
        f"contrast and saturation varied by {how.jitter:.0%}), {rates}, {preset.warmup_epochs:g} epochs of warm-up and "
        f"{schedule}, seed {preset.seed}, averaging {preset.averaging:g} a step."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
