"""Made-up records of runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from service.metrics import DEFINITION
from training.boundary import BOUNDARY_DEFINITION
from training.report.record import Record, write_record

CLASSES = ("sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")

RECORD = Record(
    preset="camvid-fcn32s",
    title="FCN-32s from scratch",
    architecture="fcn32s-vgg16-light",
    dataset="CamVid: 367 train, 101 val",
    classes=("road", "car"),
    parameters=19_100_000,
    gmac=52.25,
    epochs=10,
    crop=(240, 176),
    batch=4,
    long_side=240,
    device="cpu",
    threads=2,
    seconds=3700.0,
    peak_memory=1536 << 20,
    peak_memory_method="the process's peak resident set (getrusage)",
    best_epoch=9,
    split="val",
    images=101,
    confusion=((90, 10), (20, 30)),
    definition=DEFINITION,
    boundary_f=(0.5, 0.25),
    mean_boundary_f=0.375,
    boundary_definition=BOUNDARY_DEFINITION,
    commit="0123456789abcdef0123456789abcdef01234567",
    torch="2.13.0+cpu",
    command="python -m training train camvid-fcn32s --data camvid --out runs/camvid-fcn32s",
)


def made_up(title: str, quality: float, seed: int) -> Record:
    """A record of 11 classes that gets about `quality` of the pixels right."""
    random = np.random.default_rng(seed)
    size = len(CLASSES)
    wrong = random.dirichlet(np.full(size, 0.3), size) * (1 - quality)
    right = np.diag(np.full(size, quality) ** random.uniform(0.5, 2, size))
    counts = ((wrong + right) * random.uniform(1e4, 1e6, (size, 1))).astype(int)
    boundary = random.uniform(0.5, 1, size) * quality
    return replace(
        RECORD,
        title=title,
        preset=f"camvid-{seed}",
        classes=CLASSES,
        confusion=tuple(tuple(row) for row in counts.tolist()),
        boundary_f=tuple(boundary.tolist()),
        mean_boundary_f=float(boundary.mean()),
        parameters=RECORD.parameters + 4000 * seed,
        seconds=RECORD.seconds * (1 + seed / 7),
    )


def write_run(folder: Path, record: Record, **preset: object) -> Path:
    """A run's folder as it is kept: configuration, metrics table and record."""
    folder.mkdir(parents=True)
    chosen = {"name": record.preset, "epochs": record.epochs, "optimizer": {"method": "adamw", "learning_rate": 1e-3}} | preset
    (folder / "config.json").write_text(json.dumps({"preset": chosen, "commit": record.commit}))
    best = record.matrix.mean_iou
    rows = [f"{epoch},{2 / epoch},{best * epoch / record.epochs}" for epoch in range(1, record.epochs + 1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,train_loss,val_mean_iou", *rows]) + "\n")
    write_record(folder, record)
    return folder
