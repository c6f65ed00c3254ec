"""Train a preset, or your own images on top of a shipped model; run again after a kill, it continues to the same result.

Your own images are a folder of images/ and masks/ with a class list, or CVAT's export. With torchrun, several processes
share each batch: on CPUs over gloo, which is tested, on GPUs over NCCL, untested.
"""

import argparse
import dataclasses
from pathlib import Path

from training.commands.arguments import (
    add_data_arguments,
    add_init_argument,
    add_plan_arguments,
    add_preset_argument,
    at_least_one,
    chosen_plan,
    data_text,
    first_weights,
    folder_path,
    open_data,
)
from training.data.batches import share_of_batch
from training.data.check import check
from training.data.dataset import Dataset
from training.data.find import FOLDER, OWN
from training.errors import InputError
from training.files import read_metadata
from training.fine_tuning import SHIPPED, fine_tuning, model_name
from training.machine import keep_freed_memory, release_freed_memory
from training.memory.settle import settle
from training.parallel import may_speak, world
from training.plan import Plan
from training.presets import PRESETS
from training.run_folder import RunFolder
from training.serve import find_place, require_name, require_port, serve
from training.train import train
from training.wording import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options: a preset, its data, where to record the run, and what to do with the result."""
    add_preset_argument(parser, "fine-tune on your own data")
    add_data_arguments(parser)
    parser.add_argument(
        "--out", type=folder_path, metavar="RUN", help="run folder to create or to continue (default: runs/NAME)"
    )
    parser.add_argument("--name", help="of the run and the model (default: the preset's; of your own data, its folder's)")
    add_init_argument(parser)
    parser.add_argument("--epochs", type=at_least_one, metavar="N", help="instead of the preset's number")
    parser.add_argument("--patience", type=at_least_one, metavar="N", help="stop after N epochs without a better model")
    add_plan_arguments(parser)
    parser.add_argument("--workers", type=at_least_one, default=1, metavar="N", help="processes that read images (default: 1)")
    parser.add_argument(
        "--fit",
        choices=("check", "auto", "off"),
        default="check",
        help="where memory is short: stop and name the change that helps (check, the default), make it (auto), or go on (off)",
    )
    parser.add_argument("--serve", action="store_true", help="export the result to models/ and start the service on it")


def run(arguments: argparse.Namespace) -> int:
    """Train, alone or with the other processes that torchrun started."""
    init = first_weights(arguments)
    dataset = open_data(PRESETS[arguments.preset].dataset if arguments.preset else FOLDER, arguments)
    own = dataset.name in OWN
    if own:
        _require_sound(dataset, arguments.data)
    if arguments.preset is None:
        init = init or SHIPPED
        preset = fine_tuning(dataset, arguments.data, init)
    else:
        preset = dataclasses.replace(PRESETS[arguments.preset], dataset=dataset.name)
        trained_by = read_metadata(init).get("preset") if init is not None and init.suffix == ".safetensors" else None
        if trained_by in PRESETS:  # the model that is continued, which need not be that of the preset
            preset = dataclasses.replace(preset, start=trained_by)
    if arguments.epochs:  # the warm-up must not fill a short run
        warmup = min(preset.warmup_epochs, arguments.epochs / 4)
        preset = dataclasses.replace(preset, epochs=arguments.epochs, warmup_epochs=warmup)
    preset = dataclasses.replace(preset, patience=arguments.patience or preset.patience)
    name = arguments.name or (model_name(arguments.data) if own else preset.name)
    out = arguments.out or Path("runs") / name
    place = find_place() if arguments.serve else None
    if place is not None:
        require_name(name, dataset, place.models_dir)
        require_port(place)
    with world() as here:
        share = share_of_batch(preset.batch, here.size)
        plan = chosen_plan(arguments, share)
        settled = settle(preset, plan, dataset, arguments.data, RunFolder(out), here, arguments.fit)
        if settled.has_room:
            keep_freed_memory()  # which is faster
        else:
            release_freed_memory()
        best = train(
            settled.preset,
            dataset,
            arguments.data,
            out,
            init=init,
            plan=settled.plan,
            world=here,
            workers=arguments.workers,
            command=command_text(arguments, init, settled.plan, share, here.size),
        )
    if here.is_main:
        print(f"best val mean IoU {best:.4f}, weights in {out / 'best.safetensors'}", flush=True)
        if place is not None:
            serve(out, name, dataset.evaluation(arguments.data, "val"), place.models_dir)
    return 0


def command_text(arguments: argparse.Namespace, init: Path | None, plan: Plan, share: int, processes: int) -> str:
    """The command that repeats the run, with placeholders for folders; `share` is each process's share of a batch, in crops."""
    words = [f"torchrun --nproc-per-node {processes} -m" if processes > 1 else "python -m", "training train", arguments.preset]
    words += [data_text(arguments), "--out RUN"]
    if init is not None:  # all runs' files have the same name: the folder tells them apart
        words.append(f"--init {arguments.init if '://' in str(arguments.init) else Path(init.parent.name, init.name)}")
    words += [f"--epochs {arguments.epochs}" if arguments.epochs else None]
    words += [f"--patience {arguments.patience}" if arguments.patience else None]
    words += [f"--micro-batch {plan.micro_batch}" if plan.micro_batch != share else None]
    words += ["--recompute" if plan.recompute else None, f"--precision {plan.precision}" if plan.precision != "fp32" else None]
    words += [f"--fit {arguments.fit}" if arguments.fit != "check" else None]
    return " ".join(filter(None, words))


def _require_sound(dataset: Dataset, data: Path) -> None:
    """Check all of the user's own data before training. Raises InputError if there are errors to correct first."""
    findings = check(dataset, data)
    if may_speak():
        print(findings.text(), flush=True)
    if findings.errors:
        raise InputError(f"{data}: {counted(len(findings.errors), 'error')} to mend first, see above")
