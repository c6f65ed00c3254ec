"""Before a run: compares the memory it needs with the memory that is free, and settles what to change."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from service.geometry import padded_size
from training.data.augment import COMMON_STRIDE
from training.data.dataset import Dataset
from training.data.reader import Reader, stored_image
from training.errors import InputError
from training.files import read_metadata
from training.memory.estimate import Size, estimate
from training.memory.fit import Trial, changes, fit, lower_precision, one_at_a_time
from training.memory.free import free_memory
from training.memory.text import change_text, estimate_text, size_text, trials_text
from training.networks import LIGHTER
from training.parallel import World
from training.plan import Plan
from training.presets.preset import Preset
from training.run_folder import RunFolder, naming_resume

How = Literal["check", "auto", "off"]


@dataclass(frozen=True)
class Settled:
    """How a run is to be carried out."""

    preset: Preset
    plan: Plan
    has_room: bool  # whether freed memory may be kept: see `training.machine`


def settle(preset: Preset, plan: Plan, dataset: Dataset, data: Path, run: RunFolder, world: World, how: How) -> Settled:
    """Print the estimated memory of training and the free memory; `how` says what to do if too little is free.

    "off" warns and goes on. "auto" makes the smallest change that fits and prints it; a run that has begun keeps what was
    chosen then, and takes fewer crops at a time if needed. "check" changes nothing. Raises InputError if too little is free
    with "check", or after every change of "auto".
    """
    begun = run.config.exists()
    if begun and how == "auto":
        preset, plan = as_begun(preset, plan, run)
    if run.resume.exists():  # no more crops at a time than the run last used
        with naming_resume(run.resume):
            last = int(read_metadata(run.resume)["micro_batch"])
        plan = replace(plan, micro_batch=min(plan.micro_batch, last))
    crop, largest = sizes(preset, dataset, data)
    free = world.least(free_memory(world.device))

    def trial(preset: Preset, plan: Plan) -> Trial:
        return Trial(preset, plan, estimate(preset, plan, len(dataset.classes), crop, largest, world.device, world.size))

    asked = trial(preset, plan)
    if world.is_main:
        print(f"{estimate_text(asked, crop)}\nfree on this {world.device.type}: {size_text(free)}", flush=True)
    if asked.fits(free):
        return Settled(preset, plan, asked.has_room(free))
    short = f"training takes {size_text(asked.estimate.peak)} and some room, and {size_text(free)} are free"
    if how == "off":
        if world.is_main:
            print(f"warning: {short}: it may run out of memory", flush=True)
        return Settled(preset, plan, has_room=False)
    tried = one_at_a_time(asked, trial) if begun else changes(asked, lower_precision(world.device), trial)
    trials = fit(asked, tried, free, trial)
    if world.is_main and trials:
        print(trials_text(trials), flush=True)
    if not trials or not trials[-1].fits(free):
        remedy = "stop something else, or go on with --fit off" if begun else "take smaller crops or another preset"
        raise InputError(f"{short}; no change that this trainer knows makes it fit: {remedy}")
    found = trials[-1]
    change = change_text(asked, found)
    if how == "check":
        raise InputError(f"{short}; {change} makes it fit, and --fit auto does so")
    if world.is_main:
        print(f"--fit auto: {change}", flush=True)
        if found.preset.architecture != preset.architecture:
            print(
                f"THIS IS ANOTHER NETWORK than the preset's: {found.preset.architecture}, its results are its own", flush=True
            )
    return Settled(found.preset, found.plan, found.has_room(free))


def as_begun(preset: Preset, plan: Plan, run: RunFolder) -> tuple[Preset, Plan]:
    """The preset with the light network if the run in the folder has chosen that, and the run's plan.

    Of the plan that is asked for, only fewer crops at a time count.
    """
    frozen = run.frozen()
    lighter = frozen.preset.architecture == LIGHTER.get(preset.architecture)
    begun = replace(frozen.plan, micro_batch=min(plan.micro_batch, frozen.plan.micro_batch))
    return replace(preset, architecture=frozen.preset.architecture) if lighter else preset, begun


def sizes(preset: Preset, dataset: Dataset, data: Path) -> tuple[Size, Size]:
    """The largest image in a step and in validation; reads the sizes of the images where the preset does not fix them."""
    crop, side = preset.augmentation.crop, preset.long_side
    if crop is None:
        scale = preset.augmentation.scale[1]
        images = _images(dataset.train(data))
        seen = [padded_size(round(width * scale), round(height * scale), COMMON_STRIDE) for width, height in images]
        # The images of a batch are padded to the largest width and the largest height in it.
        crop = max(seen, key=_area) if preset.batch == 1 else (max(w for w, _ in seen), max(h for _, h in seen))
    return crop, (side, side) if side is not None else max(_images(dataset.evaluation(data, "val")), key=_area)


def _images(reader: Reader) -> Iterator[Size]:
    stems = reader.stems()
    if not stems:
        raise InputError("a split of the data set has no images")
    for stem in stems:
        with stored_image(reader, stem) as image:
            size = image.size
        yield size


def _area(size: Size) -> int:
    return size[0] * size[1]
