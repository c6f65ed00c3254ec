"""Describes in words, from the presets, how a model was trained."""

import json
from collections.abc import Sequence
from pathlib import Path

from training.checkpoint import DATA_CARD, stated_preset
from training.data.augment import Augmentation
from training.files import read_metadata
from training.presets import PRESETS
from training.presets.fine_tuning import FINE_TUNING
from training.presets.preset import AdamW, MomentumSGD, Preset

_CHOSEN = {preset.name for preset in FINE_TUNING}  # chosen by the model that is continued, not by name


def recipe_text(preset: Preset, commit: str, command: str = "", before: Sequence[str] = ()) -> str:
    """Markdown: a numbered step for each preset that led to `preset`, then for `preset`, which `command` ran at `commit`.

    If `command` is empty (not known), and for earlier steps, the command is derived from the preset. DIR stands for the data
    of `preset`; if an earlier step learned from other data, these are called by name. `before` are the earlier steps as
    `steps_before` tells them, if it does.
    """
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(_steps(preset, command, before), 1))
    averages = " Shipped is the exponential moving average of the weights." if preset.averaging else ""
    return (
        f"{steps}\n\nThe last step ran at commit `{commit[:12]}`.{averages} "
        "The epoch with the best validation mean IoU was kept."
    )


def steps_before(init: Path | None) -> tuple[str, ...]:
    """The steps that led to the weights in the file `init`; empty if presets tell them, or if there is no such file.

    Presets do not tell the steps of a model that was fine-tuned on somebody's own data: their names are the same for all.
    """
    described = read_metadata(init) if init is not None and init.suffix == ".safetensors" else {}
    before = json.loads(described.get("before", "[]"))
    if not before and described.get("preset") not in _CHOSEN:
        return ()
    *earlier, last = _steps(stated_preset(described), described.get("command", ""), before)
    return (*earlier, f"{last} Its data: {DATA_CARD.validate_json(described['data']).description}.")


def _steps(preset: Preset, command: str, before: Sequence[str]) -> list[str]:
    if before:
        return [*before, _step(preset, "DIR", command)]
    presets = [preset]
    while presets[0].start in PRESETS and presets[0].start != presets[0].name:  # a fine-tuned model can be fine-tuned again
        presets.insert(0, PRESETS[presets[0].start])
    data = ["DIR" if step.dataset == preset.dataset else step.dataset.upper() for step in presets]
    commands = [*[""] * (len(presets) - 1), command]
    return [_step(*step) for step in zip(presets, data, commands, strict=True)]


def _step(preset: Preset, data: str, command: str) -> str:
    continues, chosen = preset.start in PRESETS, preset.name in _CHOSEN
    words = ["python -m training train", "" if chosen else preset.name, f"--data {data} --out runs/{preset.name}"]
    words += [f"--init runs/{preset.start}/best.safetensors"] if continues else []
    command = command or " ".join(filter(None, words))
    known = PRESETS.get(preset.name, preset)
    schedule = "a cosine to zero" if preset.schedule == "cosine" else "a constant rate"
    parts = [
        f"from {'those' if '--init' in command else preset.start} weights",
        f"{preset.architecture} in place of {known.architecture}" if preset.architecture != known.architecture else "",
        f"{_epochs(preset.epochs)} of {preset.batch} {preset.augmentation.size} a step{_variation(preset.augmentation)}",
        _optimizer(preset.optimizer),
        f"{_epochs(preset.warmup_epochs)} of warm-up and {schedule}" if preset.warmup_epochs else schedule,
        f"layers up to stride {preset.frozen_stride} frozen" if preset.frozen_stride else "",
        f"{preset.loss.class_weights} class weights" if preset.loss.class_weights != "none" else "",
        f"a soft Jaccard loss of weight {preset.loss.jaccard:g} beside the cross-entropy" if preset.loss.jaccard else "",
        "the loss summed over the pixels" if preset.loss.reduction == "sum" else "",
        f"gradients clipped to a norm of {preset.clip_norm:g}" if preset.clip_norm else "",
        f"averaging {preset.averaging:g} a step" if preset.averaging else "",
        f"seed {preset.seed}",
    ]
    return f"`{command}`: {', '.join(filter(None, parts))}."


def _epochs(number: float) -> str:
    return f"{number:g} epoch{'' if number == 1 else 's'}"


def _variation(augmentation: Augmentation) -> str:
    parts = [
        f"scaled {augmentation.scale[0]:g} to {augmentation.scale[1]:g} times" if augmentation.scale != (1, 1) else "",
        "mirrored" if augmentation.flip else "",
        "turned" if augmentation.turns else "",
        f"brightness, contrast and saturation varied by {augmentation.jitter:.0%}" if augmentation.jitter else "",
    ]
    return f" ({', '.join(filter(None, parts))})" if any(parts) else ""


def _optimizer(optimizer: AdamW | MomentumSGD) -> str:
    if isinstance(optimizer, AdamW):
        return (
            f"AdamW with weight decay {optimizer.weight_decay:g}, learning rate {optimizer.learning_rate:g} for the backbone "
            f"and {optimizer.head_learning_rate:g} for the other layers"
        )
    return (
        f"SGD with momentum {optimizer.momentum:g}, weight decay {optimizer.weight_decay:g}, learning rate "
        f"{optimizer.learning_rate:g} and twice that for biases"
    )
