"""How a model was trained, in words, from its presets."""

from service.contract import ModelCard
from training.presets import PRESETS
from training.presets.preset import AdamW, MomentumSGD, Preset


def recipe_text(card: ModelCard) -> str:
    """One numbered step per preset, the first one first."""
    if card.preset not in PRESETS:
        return (
            f"By a recipe that is not among this version's presets: `{card.preset}`, at commit `{card.training_commit[:12]}`."
        )
    presets = [PRESETS[card.preset]]
    while presets[0].start in PRESETS:
        presets.insert(0, PRESETS[presets[0].start])
    steps = "\n".join(f"{number}. {_step(preset)}" for number, preset in enumerate(presets, 1))
    averages = " Shipped is the exponential moving average of the weights." if presets[-1].averaging else ""
    return (
        f"{steps}\n\nThe last step ran at commit `{card.training_commit[:12]}`.{averages} "
        "The epoch with the best validation mean IoU was kept."
    )


def _step(preset: Preset) -> str:
    how, continues = preset.augmentation, preset.start in PRESETS
    schedule = "a cosine to zero" if preset.schedule == "cosine" else "a constant rate"
    init = f" --init runs/{preset.start}/best.safetensors" if continues else ""
    parts = [
        f"{preset.epochs} epochs of {preset.batch} {how.size} a step (scaled {how.scale[0]:g} to "
        f"{how.scale[1]:g} times, mirrored, brightness, contrast and saturation varied by {how.jitter:.0%})",
        _optimizer(preset.optimizer),
        f"{preset.warmup_epochs:g} epochs of warm-up and {schedule}",
    ]
    if preset.frozen_stride:
        parts.append(f"layers up to stride {preset.frozen_stride} frozen")
    if preset.loss.class_weights != "none":
        parts.append(f"{preset.loss.class_weights} class weights")
    if preset.averaging:
        parts.append(f"averaging {preset.averaging:g} a step")
    return (
        f"`python -m training train {preset.name} --data DIR --out runs/{preset.name}{init}`: "
        f"from {'those' if continues else preset.start} weights, {', '.join(parts)}, seed {preset.seed}."
    )


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
